//! The raw text that `swanctl --raw` prints: sections, values and lists of the VICI protocol.
//!
//! ```text
//! list-sa event {drg1 {uniqueid=1 state=ESTABLISHED child-sas {drg1-1 {local-ts=[0.0.0.0/0]}}}}
//! ```
//!
//! Values with spaces are cut at the first one: nothing that the tests read has any.

use serde_json::{Map, Value};

/// All sections of the events called `event`, in the order printed.
pub(crate) fn events(text: &str, event: &str) -> Vec<(String, Value)> {
    let opening = format!("{event} event {{");
    text.lines()
        .filter_map(|line| line.strip_prefix(opening.as_str()))
        .flat_map(|rest| section(&mut rest.chars().peekable()))
        .collect()
}

type Input<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// The members of a section up to and with its closing brace.
fn section(input: &mut Input<'_>) -> Map<String, Value> {
    let mut members = Map::new();
    loop {
        skip_spaces(input);
        match input.peek() {
            None => return members,
            Some('}') => {
                input.next();
                return members;
            }
            Some(_) => {}
        }
        let name = word(input, &[' ', '=', '{', '}']);
        skip_spaces(input);
        let value = match input.next() {
            Some('{') => Value::Object(section(input)),
            Some('=') if input.peek() == Some(&'[') => list(input),
            Some('=') => Value::String(word(input, &[' ', '}'])),
            _ => return members,
        };
        members.insert(name, value);
    }
}

/// A list in brackets.
fn list(input: &mut Input<'_>) -> Value {
    input.next();
    let mut items = Vec::new();
    loop {
        skip_spaces(input);
        match input.peek() {
            None => break,
            Some(']') => {
                input.next();
                break;
            }
            Some(_) => items.push(Value::String(word(input, &[' ', ']']))),
        }
    }
    Value::Array(items)
}

fn word(input: &mut Input<'_>, ends: &[char]) -> String {
    let mut word = String::new();
    while let Some(c) = input.next_if(|c| !ends.contains(c)) {
        word.push(c);
    }
    word
}

fn skip_spaces(input: &mut Input<'_>) {
    while input.next_if(|c| c.is_whitespace()).is_some() {}
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_sa_with_children_is_read() {
        let text = "list-sa event {cpe {uniqueid=1 state=ESTABLISHED dh-group= child-sas {cpe-3 {name=cpe \
                    local-ts=[10.0.0.0/8 10.1.0.0/16] remote-ts=[]}}}}\nlist-sas reply {}\n";
        assert_eq!(
            events(text, "list-sa"),
            vec![(
                "cpe".to_owned(),
                json!({"uniqueid": "1", "state": "ESTABLISHED", "dh-group": "", "child-sas": {"cpe-3": {
                    "name": "cpe", "local-ts": ["10.0.0.0/8", "10.1.0.0/16"], "remote-ts": []}}})
            )]
        );
    }

    #[test]
    fn no_sa_is_no_event() {
        assert_eq!(events("list-sas reply {}\n", "list-sa"), vec![]);
    }

    #[test]
    fn text_cut_anywhere_is_read_without_a_panic() {
        let text = "list-sa event {a {b=1 c=[x y] d {e=2}}}";
        for end in 0..text.len() {
            events(&text[..end], "list-sa");
        }
    }
}
