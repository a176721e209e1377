//! What the operator wrote, as a tree: text, lists and mappings, each with its place. No types yet.
//!
//! Scalars keep their text and whether they were quoted, so that the type that is asked for decides what they mean:
//! `22:22`, `on` and `1.10` stay what they are. How text becomes a tree is in `parse.rs`, how a tree becomes a
//! value in `decode.rs`.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::core_schema::{self, Plain};
use crate::decode;
use crate::fault::Fault;
use crate::located::{Located, Location};
use crate::parse;
use crate::report::Report;
use crate::secrets::Secrets;

/// The newtype name by which our deserializer recognises a [`Node`].
pub(crate) const NODE: &str = "$sallyport::Node";

thread_local! {
    /// The tree that our deserializer is about to hand to a [`Node`]. Set and taken within one call.
    static HANDED: Cell<Option<Node>> = const { Cell::new(None) };
}

/// Gives the [`Node`] that is visited next the tree itself.
pub(crate) fn hand_over(node: Node) {
    HANDED.set(Some(node));
}

/// Takes the tree that was handed over, if any.
pub(crate) fn take_handed() -> Option<Node> {
    HANDED.take()
}

/// A part of a file as written. Cheap to clone.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    at: Location,
    kind: Kind,
    secrets: Option<Arc<Secrets>>,
    /// Nodes in this tree, aliases expanded.
    nodes: u32,
    /// Levels of this tree.
    levels: u32,
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Text; `plain` if it was neither quoted nor a block scalar.
    Scalar { text: Box<str>, plain: bool },
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping, in order; the keys differ.
    Mapping(Vec<(Located<String>, Node)>),
}

impl Node {
    /// Parses YAML and adds it to the report as a source. Errors are reported, all that the parser can go on after.
    /// Secrets are resolved from the environment of the process and relative to its folder; [`load`](crate::load())
    /// lets its caller choose.
    pub fn parse(name: &str, text: &str, report: &mut Report) -> Option<Node> {
        let file = report.add_source(name, text);
        let secrets = Arc::new(Secrets::default());
        let node = parse::parse(file, text, &secrets, report)?;
        secrets.gather(&node, Path::new(""), &|name: &str| std::env::var(name).ok());
        Some(node)
    }

    /// Where the node begins.
    pub fn location(&self) -> Location {
        self.0.at
    }

    /// The items of a list; empty for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.0.kind {
            Kind::Sequence(items) => items,
            _ => &[],
        }
    }

    /// The entries of a mapping; empty for anything else.
    pub fn entries(&self) -> &[(Located<String>, Node)] {
        match &self.0.kind {
            Kind::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.0.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether this is a scalar in quotes, or a block scalar.
    pub fn is_quoted(&self) -> bool {
        matches!(self.0.kind, Kind::Scalar { plain: false, .. })
    }

    /// Reads the node as `name: settings`, or as a bare `name` without settings. Anything else is reported.
    pub fn single_entry(&self, report: &mut Report) -> Option<(Located<String>, Node)> {
        self.as_single_entry().map_err(|fault| fault.report(report)).ok()
    }

    /// The same, for use inside `Deserialize`.
    pub(crate) fn as_single_entry(&self) -> Result<(Located<String>, Node), Fault> {
        match &self.0.kind {
            Kind::Scalar { text, .. } if !text.is_empty() => {
                let nothing = self.sibling(Kind::Mapping(Vec::new()));
                Ok((Located::new(text.to_string(), self.0.at), nothing))
            }
            Kind::Mapping(entries) => match entries.as_slice() {
                [(name, settings)] if settings.is_empty_scalar() => {
                    Ok((name.clone(), settings.sibling(Kind::Mapping(Vec::new()))))
                }
                [(name, settings)] => Ok((name.clone(), settings.clone())),
                [_, (second, _), ..] => Err(Fault::new(
                    second.at,
                    format!("expected `name: settings`, found a second name `{}`", second.value),
                )
                .hint("settings are indented below the name, or stand in { } behind it")
                .hint("every list entry begins with `- `")),
                [] => Err(Fault::new(self.0.at, "expected `name: settings`, found an empty mapping")),
            },
            _ => Err(Fault::new(self.0.at, format!("expected `name: settings`, found {}", self.found()))),
        }
    }

    /// Reads the node as a value of this type. Every error is reported, not the first only; with an error there is
    /// no value.
    pub fn decode<T: DeserializeOwned>(&self, report: &mut Report) -> Option<T> {
        decode::decode(self, report)
    }

    pub(crate) fn new(at: Location, kind: Kind, secrets: Option<&Arc<Secrets>>) -> Node {
        let (nodes, levels) = match &kind {
            Kind::Scalar { .. } => (0, 0),
            Kind::Sequence(items) => measure(items.iter()),
            Kind::Mapping(entries) => {
                let (nodes, levels) = measure(entries.iter().map(|(_, node)| node));
                (nodes.saturating_add(u32::try_from(entries.len()).unwrap_or(u32::MAX)), levels)
            }
        };
        let (nodes, levels) = (nodes.saturating_add(1), levels.saturating_add(1));
        Node(Arc::new(Inner { at, kind, secrets: secrets.cloned(), nodes, levels }))
    }

    /// Another node at the same place and with the same secrets.
    fn sibling(&self, kind: Kind) -> Node {
        Node::new(self.0.at, kind, self.0.secrets.as_ref())
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.0.kind
    }

    pub(crate) fn nodes(&self) -> u32 {
        self.0.nodes
    }

    pub(crate) fn levels(&self) -> u32 {
        self.0.levels
    }

    pub(crate) fn secrets(&self) -> Option<&Arc<Secrets>> {
        self.0.secrets.as_ref()
    }

    /// Whether nothing was written: `key:` and no more.
    pub(crate) fn is_empty_scalar(&self) -> bool {
        matches!(&self.0.kind, Kind::Scalar { text, plain: true } if text.is_empty())
    }

    /// What stands here, for "expected ..., found ...".
    pub(crate) fn found(&self) -> String {
        match &self.0.kind {
            Kind::Scalar { text, plain } => found_text(text, *plain),
            Kind::Sequence(_) => "a list".to_owned(),
            Kind::Mapping(_) => "a mapping".to_owned(),
        }
    }

    /// The same mapping without the entries that `keep` refuses.
    pub(crate) fn retain(&self, keep: impl Fn(&str) -> bool) -> Node {
        let kept = self.entries().iter().filter(|(name, _)| keep(name)).cloned().collect();
        self.sibling(Kind::Mapping(kept))
    }
}

fn measure<'a>(children: impl Iterator<Item = &'a Node>) -> (u32, u32) {
    children.fold((0u32, 0u32), |(nodes, levels), child| {
        (nodes.saturating_add(child.nodes()), levels.max(child.levels()))
    })
}

/// A scalar for "expected ..., found ...".
pub(crate) fn found_text(text: &str, plain: bool) -> String {
    const CHARACTERS_MAX: usize = 60;
    if text.is_empty() {
        return if plain { "nothing".to_owned() } else { "an empty string".to_owned() };
    }
    let mut shown: String = text.chars().take(CHARACTERS_MAX).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    if plain { format!("`{shown}`") } else { format!("the string `{shown}`") }
}

/// The tree as written; no secret is in it.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.kind {
            Kind::Scalar { text, .. } => text.fmt(f),
            Kind::Sequence(items) => f.debug_list().entries(items).finish(),
            Kind::Mapping(entries) => f.debug_map().entries(entries.iter().map(|(k, v)| (k, v))).finish(),
        }
    }
}

/// An empty mapping, nowhere.
impl Default for Node {
    fn default() -> Self {
        Node::new(Location::NOWHERE, Kind::Mapping(Vec::new()), None)
    }
}

/// As written: `${NAME}` stays `${NAME}`. Plain scalars are null, booleans and numbers where YAML 1.2 says so.
impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.kind {
            Kind::Scalar { text, plain } => match core_schema::read(text, *plain) {
                Plain::Null => serializer.serialize_unit(),
                Plain::Bool(value) => serializer.serialize_bool(value),
                Plain::Unsigned(value) => serializer.serialize_u64(value),
                Plain::Signed(value) => serializer.serialize_i64(value),
                Plain::Float(value) => serializer.serialize_f64(value),
                Plain::Text => serializer.serialize_str(text),
            },
            Kind::Sequence(items) => serializer.collect_seq(items),
            Kind::Mapping(entries) => serializer.collect_map(entries.iter().map(|(k, v)| (k, v))),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(NODE, NodeVisitor)
    }
}

/// Takes the tree from our deserializer, or builds one from what another deserializer finds.
struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        match take_handed() {
            Some(node) => Ok(node),
            None => deserializer.deserialize_any(self),
        }
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        Ok(nowhere("null", true))
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(nowhere(&value.to_string(), true))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(nowhere(&value.to_string(), true))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Node, E> {
        Ok(nowhere(&value.to_string(), true))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        Ok(nowhere(&value.to_string(), true))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Node, E> {
        Ok(nowhere(value, false))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::new(Location::NOWHERE, Kind::Sequence(items), None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries: Vec<(Located<String>, Node)> = Vec::new();
        while let Some((name, node)) = map.next_entry::<Located<String>, Node>()? {
            if entries.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom(format!("duplicate key `{}`", name.value)));
            }
            entries.push((name, node));
        }
        Ok(Node::new(Location::NOWHERE, Kind::Mapping(entries), None))
    }
}

fn nowhere(text: &str, plain: bool) -> Node {
    Node::new(Location::NOWHERE, Kind::Scalar { text: text.into(), plain }, None)
}

impl JsonSchema for Node {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Settings".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!(true)
    }
}
