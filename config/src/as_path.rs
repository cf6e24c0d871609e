//! Expressions over AS paths: `^31898 .* [65000-65100]$`.
//!
//! Their letters are AS numbers, so that 650 never matches a part of 65000. `_`, which other routers' expressions put between
//! numbers, is a blank.

use crate::model::{AsPathNode, NumberRange};

/// How deep parentheses may be.
const DEEPEST: usize = 16;

/// The most that one repetition may ask for.
const MOST_REPEATED: u32 = 255;

/// The largest expression, in steps of what it is compiled to; repetitions multiply.
const LARGEST: u64 = 1_000;

/// Why a text is no such expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What is wrong.
    pub(crate) message: String,
    /// What to write instead, where that is known.
    pub(crate) help: Option<&'static str>,
}

impl Problem {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }
}

/// Reads an expression.
pub(crate) fn parse(text: &str) -> Result<AsPathNode, Problem> {
    let mut parser = Parser {
        letters: text.chars().peekable(),
        depth: 0,
    };
    let node = parser.either()?;
    if let Some(letter) = parser.letters.next() {
        return Err(Problem::new(format!("'{letter}' closes nothing")));
    }
    if size(&node) > LARGEST {
        return Err(Problem::new(
            "the expression is too large: repetitions multiply",
        ));
    }
    Ok(node)
}

/// How many steps an expression takes at most.
fn size(node: &AsPathNode) -> u64 {
    let sum = |nodes: &[AsPathNode]| nodes.iter().map(size).fold(0, u64::saturating_add);
    match node {
        AsPathNode::Any | AsPathNode::OneOf(_) | AsPathNode::Start | AsPathNode::End => 1,
        AsPathNode::Sequence(nodes) => sum(nodes),
        AsPathNode::Either(nodes) => sum(nodes).saturating_add(2 * nodes.len() as u64),
        AsPathNode::Repeat { node, least, most } => {
            let times = u64::from(most.unwrap_or(least + 1)) + 1;
            times.saturating_mul(size(node).saturating_add(2))
        }
    }
}

struct Parser<'t> {
    letters: std::iter::Peekable<std::str::Chars<'t>>,
    depth: usize,
}

impl Parser<'_> {
    fn either(&mut self) -> Result<AsPathNode, Problem> {
        let mut ways = vec![self.sequence()?];
        while self.letters.next_if_eq(&'|').is_some() {
            ways.push(self.sequence()?);
        }
        Ok(match ways.len() {
            1 => ways.swap_remove(0),
            _ => AsPathNode::Either(ways),
        })
    }

    fn sequence(&mut self) -> Result<AsPathNode, Problem> {
        let mut nodes = Vec::new();
        loop {
            self.skip_blanks();
            match self.letters.peek() {
                None | Some('|' | ')') => return Ok(AsPathNode::Sequence(nodes)),
                Some(_) => {}
            }
            let node = self.atom()?;
            nodes.push(self.repeated(node)?);
        }
    }

    fn skip_blanks(&mut self) {
        while self
            .letters
            .next_if(|letter| letter.is_whitespace() || *letter == '_')
            .is_some()
        {}
    }

    fn atom(&mut self) -> Result<AsPathNode, Problem> {
        match self.letters.peek().copied() {
            Some('0'..='9') => {
                let asn = self.asn()?;
                Ok(AsPathNode::OneOf(vec![NumberRange {
                    low: asn,
                    high: asn,
                }]))
            }
            Some('[') => self.ranges(),
            Some('(') => self.group(),
            Some(letter @ ('.' | '^' | '$')) => {
                self.letters.next();
                Ok(match letter {
                    '.' => AsPathNode::Any,
                    '^' => AsPathNode::Start,
                    _ => AsPathNode::End,
                })
            }
            Some(letter @ ('*' | '+' | '?' | '{')) => Err(Problem {
                message: format!("'{letter}' has nothing before it to repeat"),
                help: Some("any AS is '.', any number of them '.*'"),
            }),
            Some(letter) => Err(Problem::new(format!(
                "'{letter}' has no meaning in an expression over AS paths"
            ))),
            None => Err(Problem::new("something is missing at the end")),
        }
    }

    fn group(&mut self) -> Result<AsPathNode, Problem> {
        self.letters.next();
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Problem::new(format!(
                "parentheses are deeper than {DEEPEST}"
            )));
        }
        let node = self.either()?;
        self.depth -= 1;
        match self.letters.next() {
            Some(')') => Ok(node),
            _ => Err(Problem::new("'(' is not closed")),
        }
    }

    /// `[65000-65100, 65500]`
    fn ranges(&mut self) -> Result<AsPathNode, Problem> {
        self.letters.next();
        let mut ranges = Vec::new();
        loop {
            self.skip_blanks();
            let low = self.asn()?;
            self.skip_blanks();
            let high = match self.letters.next_if_eq(&'-') {
                Some(_) => {
                    self.skip_blanks();
                    self.asn()?
                }
                None => low,
            };
            if high < low {
                return Err(Problem::new(format!(
                    "{low}-{high} is no range: {high} is less"
                )));
            }
            ranges.push(NumberRange { low, high });
            self.skip_blanks();
            match self.letters.next() {
                Some(',') => {}
                Some(']') => return Ok(AsPathNode::OneOf(ranges)),
                Some(letter) => {
                    return Err(Problem::new(format!(
                        "'{letter}' inside [ ]: expected ranges such as [65000-65100, 65500]"
                    )));
                }
                None => return Err(Problem::new("'[' is not closed")),
            }
        }
    }

    fn asn(&mut self) -> Result<u32, Problem> {
        let number = self.number()?;
        if number == 0 {
            return Err(Problem {
                message: "AS 0 is in no path (RFC 7607)".to_owned(),
                help: Some("numbers are whole AS numbers here, not digits: any AS is '.'"),
            });
        }
        Ok(number)
    }

    fn number(&mut self) -> Result<u32, Problem> {
        let mut digits = String::new();
        while let Some(digit) = self.letters.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        if digits.is_empty() {
            let found = self
                .letters
                .peek()
                .map_or("the end".to_owned(), |letter| format!("'{letter}'"));
            return Err(Problem::new(format!("expected a number, found {found}")));
        }
        digits
            .parse()
            .map_err(|_| Problem::new(format!("{digits} is no AS number")))
    }

    fn repeated(&mut self, node: AsPathNode) -> Result<AsPathNode, Problem> {
        let (least, most) = match self.letters.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => return self.counted(node),
            _ => return Ok(node),
        };
        self.letters.next();
        Self::repeat(node, least, most)
    }

    fn repeat(node: AsPathNode, least: u32, most: Option<u32>) -> Result<AsPathNode, Problem> {
        if matches!(node, AsPathNode::Start | AsPathNode::End) {
            return Err(Problem::new("'^' and '$' cannot be repeated"));
        }
        let node = Box::new(node);
        Ok(AsPathNode::Repeat { node, least, most })
    }

    /// `{2}`, `{2,}`, `{2,4}`
    fn counted(&mut self, node: AsPathNode) -> Result<AsPathNode, Problem> {
        self.letters.next();
        let least = self.number()?;
        let most = match self.letters.next() {
            Some('}') => return Self::counts(node, least, Some(least)),
            Some(',') if self.letters.next_if_eq(&'}').is_some() => {
                return Self::counts(node, least, None);
            }
            Some(',') => self.number()?,
            _ => return Err(Problem::new("'{' is not closed")),
        };
        match self.letters.next() {
            Some('}') => Self::counts(node, least, Some(most)),
            _ => Err(Problem::new("'{' is not closed")),
        }
    }

    fn counts(node: AsPathNode, least: u32, most: Option<u32>) -> Result<AsPathNode, Problem> {
        if most.is_some_and(|most| most < least) || most.unwrap_or(least) > MOST_REPEATED {
            return Err(Problem::new(format!(
                "a count goes from less to more, up to {MOST_REPEATED}"
            )));
        }
        Self::repeat(node, least, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(asn: u32) -> AsPathNode {
        AsPathNode::OneOf(vec![NumberRange {
            low: asn,
            high: asn,
        }])
    }

    #[test]
    fn the_forms_that_there_are() {
        use AsPathNode::{Any, Either, End, Repeat, Sequence, Start};
        let any = |least, most| Repeat {
            node: Box::new(Any),
            least,
            most,
        };
        let cases = [
            ("_65000_", Sequence(vec![one(65000)])),
            ("^$", Sequence(vec![Start, End])),
            (
                "^31898 .* 7$",
                Sequence(vec![Start, one(31898), any(0, None), one(7), End]),
            ),
            (".+ .?", Sequence(vec![any(1, None), any(0, Some(1))])),
            (
                ".{2}.{1,}.{1,3}",
                Sequence(vec![any(2, Some(2)), any(1, None), any(1, Some(3))]),
            ),
            (
                "1|2",
                Either(vec![Sequence(vec![one(1)]), Sequence(vec![one(2)])]),
            ),
            ("", Sequence(vec![])),
        ];
        for (text, node) in cases {
            assert_eq!(parse(text), Ok(node), "{text}");
        }
        let ranges = AsPathNode::OneOf(vec![
            NumberRange {
                low: 65000,
                high: 65100,
            },
            NumberRange { low: 7, high: 7 },
        ]);
        assert_eq!(parse("[65000 - 65100, 7]"), Ok(Sequence(vec![ranges])));
    }

    #[test]
    fn what_is_no_expression_says_why() {
        let deep = format!("{}1{}", "(".repeat(20), ")".repeat(20));
        let cases = [
            ("*", "'*' has nothing before it to repeat"),
            ("(1", "'(' is not closed"),
            ("1)", "')' closes nothing"),
            ("[1-", "expected a number, found the end"),
            ("[5-3]", "5-3 is no range: 3 is less"),
            ("[0-9]+", "AS 0 is in no path (RFC 7607)"),
            (
                "65000a",
                "'a' has no meaning in an expression over AS paths",
            ),
            ("99999999999", "99999999999 is no AS number"),
            ("1{3,2}", "a count goes from less to more, up to 255"),
            (
                "((.{200}){200}){200}",
                "the expression is too large: repetitions multiply",
            ),
            (&deep, "parentheses are deeper than 16"),
        ];
        for (text, message) in cases {
            assert_eq!(parse(text).unwrap_err().message, message, "{text}");
        }
    }
}
