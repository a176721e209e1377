//! Clients' filters over tags (`tf` of a subscription): what a client does not want to see. They only ever take away from
//! what it may see.

use serde::Deserialize;

/// Nodes of one filter.
const NODES_MAX: usize = 64;
/// How deep a filter may nest.
const DEPTH_MAX: usize = 8;
/// Bytes of one text in a filter, and texts of one list.
const TEXT_BYTES_MAX: usize = 256;
const LIST_MAX: usize = 64;

/// A filter as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct FilterNode {
    op: String,
    key: String,
    cmp: String,
    val: String,
    vals: Vec<String>,
    nodes: Vec<FilterNode>,
}

/// A filter that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TagFilter {
    And(Vec<TagFilter>),
    Or(Vec<TagFilter>),
    Not(Box<TagFilter>),
    Equal(String, String),
    NotEqual(String, String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Lacks(String),
    StartsWith(String, String),
    EndsWith(String, String),
    Contains(String, String),
    /// A number on both sides, and how they must compare.
    Number(String, Comparison, String),
}

/// How two numbers compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl TagFilter {
    /// Checks a filter. `None`: it is malformed or too large.
    pub(crate) fn compile(node: FilterNode) -> Option<TagFilter> {
        compile(node, DEPTH_MAX, &mut NODES_MAX.clone())
    }

    /// Whether an event with these tags passes.
    pub(crate) fn passes(&self, tags: &[(std::sync::Arc<str>, Box<str>)]) -> bool {
        let tag = |key: &str| tags.iter().find(|(name, _)| **name == *key).map(|(_, value)| &**value);
        match self {
            TagFilter::And(filters) => filters.iter().all(|filter| filter.passes(tags)),
            TagFilter::Or(filters) => filters.iter().any(|filter| filter.passes(tags)),
            TagFilter::Not(filter) => !filter.passes(tags),
            TagFilter::Equal(key, value) => tag(key) == Some(value.as_str()),
            TagFilter::NotEqual(key, value) => tag(key) != Some(value.as_str()),
            TagFilter::In(key, values) => tag(key).is_some_and(|tag| values.iter().any(|value| value == tag)),
            TagFilter::NotIn(key, values) => {
                !tag(key).is_some_and(|tag| values.iter().any(|value| value == tag))
            }
            TagFilter::Exists(key) => tag(key).is_some(),
            TagFilter::Lacks(key) => tag(key).is_none(),
            TagFilter::StartsWith(key, value) => tag(key).is_some_and(|tag| tag.starts_with(value.as_str())),
            TagFilter::EndsWith(key, value) => tag(key).is_some_and(|tag| tag.ends_with(value.as_str())),
            TagFilter::Contains(key, value) => tag(key).is_some_and(|tag| tag.contains(value.as_str())),
            TagFilter::Number(key, comparison, value) => {
                let numbers = tag(key).and_then(|tag| tag.parse::<f64>().ok()).zip(value.parse::<f64>().ok());
                numbers.is_some_and(|(tag, value)| comparison.holds(tag, value))
            }
        }
    }
}

impl Comparison {
    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Comparison::Less => left < right,
            Comparison::LessOrEqual => left <= right,
            Comparison::Greater => left > right,
            Comparison::GreaterOrEqual => left >= right,
        }
    }
}

fn compile(node: FilterNode, depth: usize, nodes_left: &mut usize) -> Option<TagFilter> {
    *nodes_left = nodes_left.checked_sub(1)?;
    let depth = depth.checked_sub(1)?;
    let short = |text: &String| text.len() <= TEXT_BYTES_MAX;
    if !(short(&node.key) && short(&node.val) && node.vals.len() <= LIST_MAX && node.vals.iter().all(short)) {
        return None;
    }
    let mut children = Vec::with_capacity(node.nodes.len().min(NODES_MAX));
    for child in node.nodes {
        children.push(compile(child, depth, nodes_left)?);
    }
    match (node.op.as_str(), children.len()) {
        ("and", 1..) => return Some(TagFilter::And(children)),
        ("or", 1..) => return Some(TagFilter::Or(children)),
        ("not", 1) => return children.pop().map(|child| TagFilter::Not(Box::new(child))),
        ("", 0) if !node.key.is_empty() => {}
        _ => return None,
    }
    leaf(node.key, &node.cmp, node.val, node.vals)
}

fn leaf(key: String, comparison: &str, val: String, mut vals: Vec<String>) -> Option<TagFilter> {
    // The order of a list makes no difference: filters that say the same share a class of subscribers.
    vals.sort_unstable();
    let number = |comparison| {
        let is_number = val.parse::<f64>().is_ok_and(f64::is_finite);
        is_number.then(|| TagFilter::Number(key.clone(), comparison, val.clone()))
    };
    Some(match comparison {
        "eq" => TagFilter::Equal(key, val),
        "neq" => TagFilter::NotEqual(key, val),
        "in" => TagFilter::In(key, vals),
        "nin" => TagFilter::NotIn(key, vals),
        "ex" => TagFilter::Exists(key),
        "nex" => TagFilter::Lacks(key),
        "sw" => TagFilter::StartsWith(key, val),
        "ew" => TagFilter::EndsWith(key, val),
        "ct" => TagFilter::Contains(key, val),
        "lt" => return number(Comparison::Less),
        "lte" => return number(Comparison::LessOrEqual),
        "gt" => return number(Comparison::Greater),
        "gte" => return number(Comparison::GreaterOrEqual),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Option<TagFilter> {
        TagFilter::compile(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn every_comparison_does_what_the_protocol_says() {
        let tags = [("type".into(), "spell.checked".into()), ("n".into(), "10".into())];
        for (text, passes) in [
            (r#"{"key":"type","cmp":"eq","val":"spell.checked"}"#, true),
            (r#"{"key":"type","cmp":"neq","val":"spell.checked"}"#, false),
            (r#"{"key":"other","cmp":"neq","val":"x"}"#, true),
            (r#"{"key":"type","cmp":"in","vals":["a","spell.checked"]}"#, true),
            (r#"{"key":"type","cmp":"nin","vals":["a"]}"#, true),
            (r#"{"key":"type","cmp":"ex"}"#, true),
            (r#"{"key":"type","cmp":"nex"}"#, false),
            (r#"{"key":"type","cmp":"sw","val":"spell"}"#, true),
            (r#"{"key":"type","cmp":"ew","val":"checked"}"#, true),
            (r#"{"key":"type","cmp":"ct","val":"x"}"#, false),
            (r#"{"key":"n","cmp":"gt","val":"9"}"#, true),
            (r#"{"key":"n","cmp":"lte","val":"9.5"}"#, false),
            (r#"{"key":"type","cmp":"lt","val":"9"}"#, false),
            (r#"{"op":"not","nodes":[{"key":"n","cmp":"gte","val":"10"}]}"#, false),
            (r#"{"op":"or","nodes":[{"key":"n","cmp":"lt","val":"1"},{"key":"n","cmp":"ex"}]}"#, true),
            (r#"{"op":"and","nodes":[{"key":"n","cmp":"lt","val":"1"},{"key":"n","cmp":"ex"}]}"#, false),
        ] {
            assert_eq!(filter(text).unwrap().passes(&tags), passes, "{text}");
        }
    }

    #[test]
    fn malformed_filters_are_refused() {
        let deep = format!(
            "{}{{\"key\":\"a\",\"cmp\":\"ex\"}}{}",
            "{\"op\":\"not\",\"nodes\":[".repeat(8),
            "]}".repeat(8)
        );
        let many =
            format!("{{\"op\":\"and\",\"nodes\":[{}]}}", vec![r#"{"key":"a","cmp":"ex"}"#; 64].join(","));
        let long = format!("{{\"key\":\"a\",\"cmp\":\"eq\",\"val\":\"{}\"}}", "x".repeat(257));
        for text in [
            "{}",
            r#"{"key":"a","cmp":"like","val":"x"}"#,
            r#"{"key":"a","cmp":"gt","val":"x"}"#,
            r#"{"cmp":"eq","val":"x"}"#,
            r#"{"op":"and"}"#,
            r#"{"op":"xor","nodes":[{"key":"a","cmp":"ex"}]}"#,
            &deep,
            &many,
            &long,
        ] {
            assert_eq!(filter(text), None, "{text}");
        }
    }
}
