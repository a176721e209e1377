//! Kafka's rules for the names of topics, and which topics a pattern means.

use crate::located::Located;
use crate::report::Report;

/// The longest name of a topic, in bytes.
const TOPIC_BYTES_MAX: usize = 249;

/// Checks one topic; `*` stands for any characters where `pattern` is set.
pub(super) fn check(topic: &Located<String>, pattern: bool, report: &mut Report) {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b) || (pattern && b == b'*');
    if topic.is_empty() || !topic.bytes().all(letter) || [".", ".."].contains(&topic.as_str()) {
        let hint = if topic.contains('*') && !pattern {
            "records go to one topic: write its name"
        } else if pattern {
            "a topic has letters, digits, `.`, `_` and `-`; `*` stands for any of them"
        } else {
            "a topic has letters, digits, `.`, `_` and `-`"
        };
        report.error(topic.at, format!("`{}` cannot be a topic", topic.value)).hint(hint);
    } else if topic.len() > TOPIC_BYTES_MAX {
        report.error(topic.at, format!("a topic has at most {TOPIC_BYTES_MAX} characters"));
    } else if topic.starts_with("__") {
        report
            .error(topic.at, format!("`{}` is one of Kafka's own topics", topic.value))
            .hint("topics that begin with `__` are neither read nor written");
    }
}

/// Whether a pattern means this topic.
pub(super) fn means(pattern: &str, topic: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = topic.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    // The earliest place for each part leaves the most for those that follow.
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, topic, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a", "", false),
            ("*", "anything", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*.dlq", "batches.dlq", true),
            ("*.dlq", "batches.dlq.x", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("aa*aa", "aaa", false),
            ("a**b", "ab", true),
        ] {
            assert_eq!(means(pattern, topic), expected, "{pattern} {topic}");
        }
    }
}
