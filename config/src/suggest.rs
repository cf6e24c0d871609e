//! "Did you mean": the nearest of some words.

/// The candidate nearest to `word`, where it is near enough to be a slip of the hand: at most a third of its letters
/// wrong. The first of equally near ones.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let letters: Vec<char> = word.to_lowercase().chars().take(LONGEST).collect();
    if letters.len() < 2 {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (distance(&letters, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(letters.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Longer words are nobody's slip, and comparing them costs.
const LONGEST: usize = 64;

/// The optimal string alignment distance: insertions, deletions, replacements and swaps of neighbours.
fn distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().take(LONGEST).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &left) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &right) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(left != right);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && left == b[j - 1] && a[i - 1] == right {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_hand_finds_its_word() {
        let keys = ["remote", "remote-id", "reqid", "interface"];
        assert_eq!(nearest("remotte", keys), Some("remote"));
        assert_eq!(nearest("erqid", keys), Some("reqid"));
        assert_eq!(nearest("inteface", keys), Some("interface"));
    }

    #[test]
    fn a_different_word_finds_nothing() {
        assert_eq!(nearest("banana", ["remote", "reqid"]), None);
        assert_eq!(nearest("", ["remote"]), None);
    }
}
