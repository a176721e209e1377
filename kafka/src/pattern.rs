//! Which topics are read: names, or patterns with `*`.

use std::fmt;

/// A topic's name, in which `*` stands for any characters. Topics whose names begin with `__` are Kafka's own and
/// never match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPattern {
    text: String,
}

impl TopicPattern {
    /// A pattern from its text. Any text is one; what no topic can be called matches none.
    pub fn new(text: impl Into<String>) -> Self {
        TopicPattern { text: text.into() }
    }

    /// Whether a topic of this name is meant.
    pub fn matches(&self, topic: &str) -> bool {
        !topic.starts_with("__") && stars(self.text.as_bytes(), topic.as_bytes())
    }

    /// The name, if it is one and no pattern.
    pub fn name(&self) -> Option<&str> {
        (!self.text.contains('*')).then_some(self.text.as_str())
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Matches with one point to come back to: the last star. Takes at most the product of the lengths.
fn stars(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            back = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star, from)) = back {
            back = Some((star, from + 1));
            p = star + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_is_any_characters_and_kafkas_own_topics_never_match() {
        let matches = |pattern: &str, topic: &str| TopicPattern::new(pattern).matches(topic);
        assert!(matches("orders", "orders") && !matches("orders", "orders2") && !matches("orders", "order"));
        assert!(
            matches("orders.*", "orders.eu")
                && matches("orders.*", "orders.")
                && !matches("orders.*", "orders")
        );
        assert!(matches("*", "anything") && !matches("*", "__consumer_offsets"));
        assert!(!matches("__consumer_offsets", "__consumer_offsets"));
        assert!(matches("*.dlq", "a.b.dlq") && matches("a*b*c", "aXbYbZc") && !matches("a*b*c", "aXbYbZ"));
        assert!(!matches("", "a") && matches("a**", "a"));
        assert_eq!(TopicPattern::new("a").name(), Some("a"));
        assert_eq!(TopicPattern::new("a*").name(), None);
    }

    proptest! {
        #[test]
        fn a_name_with_any_part_starred_matches(name in "[a-z.]{1,20}", from in 0usize..20, length in 0usize..20) {
            let from = from.min(name.len());
            let end = (from + length).min(name.len());
            let pattern = format!("{}*{}", &name[..from], &name[end..]);
            prop_assert!(TopicPattern::new(pattern).matches(&name));
        }

        #[test]
        fn agrees_with_the_plain_definition(pattern in "[ab*]{0,8}", text in "[ab]{0,8}") {
            fn plain(p: &[u8], t: &[u8]) -> bool {
                match p.split_first() {
                    None => t.is_empty(),
                    Some((b'*', rest)) => (0..=t.len()).any(|skip| plain(rest, &t[skip..])),
                    Some((c, rest)) => t.first() == Some(c) && plain(rest, &t[1..]),
                }
            }
            prop_assert_eq!(stars(pattern.as_bytes(), text.as_bytes()), plain(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
