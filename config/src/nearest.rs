//! The name that was probably meant.

/// Names longer than this are not compared: the work grows with the square of the length.
const CHARACTERS_MAX: usize = 64;

/// The candidate that is nearest to `name`, if one is near enough to be meant: at most a third of the characters
/// differ, counted in insertions, deletions, replacements and swaps of neighbours (Damerau-Levenshtein, restricted
/// edits). A different case alone is always near. Of two equally near the first wins.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = name.chars().take(CHARACTERS_MAX + 1).collect();
    if wanted.is_empty() || wanted.len() > CHARACTERS_MAX {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let letters: Vec<char> = candidate.chars().take(CHARACTERS_MAX + 1).collect();
        let allowed = (wanted.len().max(letters.len()) / 3).max(1);
        if letters.len() > CHARACTERS_MAX
            || letters.len().abs_diff(wanted.len()) > allowed
            || letters.len() < 2
        {
            continue;
        }
        let distance = if name.eq_ignore_ascii_case(candidate) { 0 } else { distance(&wanted, &letters) };
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The "optimal string alignment" distance: Damerau-Levenshtein where no part is edited twice.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = previous[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(previous[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut previous, row);
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_what_was_meant_and_nothing_else() {
        let names = ["orders", "files", "results", "tls"];
        assert_eq!(nearest("ordrs", names), Some("orders"));
        assert_eq!(nearest("oredrs", names), Some("orders"));
        assert_eq!(nearest("Files", names), Some("files"));
        assert_eq!(nearest("tsl", names), Some("tls"));
        assert_eq!(nearest("users", names), None);
        assert_eq!(nearest("", names), None);
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest(&"o".repeat(1000), names), None);
    }

    proptest! {
        #[test]
        fn one_edit_is_always_found(name in "[a-z]{4,20}", at in 0usize..4) {
            let mut letters: Vec<char> = name.chars().collect();
            letters.remove(at);
            let wrong: String = letters.into_iter().collect();
            prop_assert_eq!(nearest(&wrong, [name.as_str()]), Some(name.as_str()));
        }

        #[test]
        fn distance_is_symmetric(a in ".{0,12}", b in ".{0,12}") {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
        }
    }
}
