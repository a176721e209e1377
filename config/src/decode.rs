//! A tree becomes a value of a Rust type, through serde, and every error is found, not the first only.
//!
//! A visitor stops at its first bad value. So the error is noted, the list item or mapping entry that it is in is
//! left out, and the tree is read again, until nothing stops the reader. What is missing only because it was left
//! out is not reported. Keys that a struct does not know are reported and passed over on the way.

use std::cell::RefCell;
use std::collections::HashSet;

use serde::de::DeserializeOwned;

use crate::decode_error::{DecodeError, What, unknown};
use crate::fault::Fault;
use crate::located::{Located, Location};
use crate::node::Node;
use crate::reader::Reader;
use crate::report::{Report, nearest};
use crate::secrets;

/// The most errors that one tree is searched for.
const ERRORS_MAX: usize = 100;

/// The most times that one tree is read: an error may cost a few tries until what depends on it is left out too.
const TRIES_MAX: usize = 4 * ERRORS_MAX;

/// What could be read of a tree.
pub(crate) struct Partial<T> {
    /// The value, less what was wrong; `None` if nothing could be left out.
    pub(crate) value: Option<T>,
    /// Every key and list item that something was left out of: nothing should be concluded from them.
    pub(crate) damaged: HashSet<Location>,
    /// Whether nothing was wrong.
    pub(crate) sound: bool,
}

/// Reads the whole tree or nothing.
pub(crate) fn decode<T: DeserializeOwned>(root: &Node, report: &mut Report) -> Option<T> {
    let partial = decode_partly(root, report);
    if partial.sound { partial.value } else { None }
}

/// Reads what can be read.
pub(crate) fn decode_partly<T: DeserializeOwned>(root: &Node, report: &mut Report) -> Partial<T> {
    let mut context = Context::new(root);
    let mut value = None;
    secrets::within(root.secrets(), || {
        for _ in 0..TRIES_MAX {
            let error = match T::deserialize(Reader::new(root, &context)) {
                Ok(read) => return value = Some(read),
                Err(error) => error,
            };
            if !context.leave_out(error) {
                return;
            }
        }
    });
    let found = context.found.into_inner();
    let sound = found.faults.is_empty() && value.is_some();
    for fault in found.faults {
        fault.report(report);
    }
    Partial { value, damaged: found.damaged, sound }
}

/// What one decode knows besides the tree.
pub(crate) struct Context<'a> {
    root: &'a Node,
    /// Indices from the root to the value that is read now.
    path: RefCell<Vec<u32>>,
    /// The paths that are left out.
    pruned: HashSet<Vec<u32>>,
    found: RefCell<Found>,
}

#[derive(Default)]
struct Found {
    faults: Vec<Fault>,
    told: HashSet<(Location, String)>,
    damaged: HashSet<Location>,
}

impl Found {
    fn tell(&mut self, fault: Fault) {
        if self.faults.len() < ERRORS_MAX && self.told.insert((fault.at, fault.message.clone())) {
            self.faults.push(fault);
        }
    }
}

impl<'a> Context<'a> {
    fn new(root: &'a Node) -> Self {
        Context { root, path: RefCell::default(), pruned: HashSet::new(), found: RefCell::default() }
    }

    /// Notes an error and leaves out what it is in. False if there is nothing to leave out, or no end.
    fn leave_out(&mut self, error: DecodeError) -> bool {
        let stop = error.place(self.root, None).0;
        let found = self.found.get_mut();
        if let What::Placed(fault) = stop.what {
            found.tell(fault);
        }
        let Some(path) = stop.prune else { return false };
        found.damaged.extend(along(self.root, &path));
        found.faults.len() < ERRORS_MAX && self.pruned.insert(path)
    }

    pub(crate) fn is_pruned(&self, index: u32) -> bool {
        if self.pruned.is_empty() {
            return false;
        }
        let mut path = self.path.borrow().clone();
        path.push(index);
        self.pruned.contains(&path)
    }

    /// Reads a child. An error gets its place, and what to leave out if nothing smaller inside was named.
    pub(crate) fn child<T>(
        &self,
        index: u32,
        node: &Node,
        key: Option<Location>,
        read: impl FnOnce() -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        self.path.borrow_mut().push(index);
        let result = read();
        let result = result.map_err(|mut error| {
            // What a whole mapping lacks after a part of it was left out, it lacks for that.
            let whole = match &error.0.what {
                What::Missing(_) => true,
                What::Said(fault) => !fault.at.is_known(),
                _ => false,
            };
            if whole && (0u32..).zip(node.entries()).any(|(index, _)| self.is_pruned(index)) {
                error.0.what = What::Silent;
            }
            let mut error = error.place(node, key);
            error.0.prune.get_or_insert_with(|| self.path.borrow().clone());
            error
        });
        self.path.borrow_mut().pop();
        result
    }

    /// Reads the settings of an enum's variant, the only entry of its mapping.
    pub(crate) fn variant<T>(&self, read: impl FnOnce() -> T) -> T {
        self.path.borrow_mut().push(0);
        let result = read();
        self.path.borrow_mut().pop();
        result
    }

    /// A key that the struct at the present path does not know.
    pub(crate) fn unknown_key(&self, key: &Located<String>, fields: &[&str]) {
        let message = format!("unknown key `{}`", key.value);
        let mut found = self.found.borrow_mut();
        found.tell(unknown(key.at, message, key, fields, "known keys"));
        found.damaged.extend(along(self.root, &self.path.borrow()));
    }

    /// A field that the struct at the present path lacks: an error, or the consequence of one.
    pub(crate) fn missing(&self, name: &'static str, struct_node: &Node, fields: &[&str]) -> What {
        let entries = struct_node.entries();
        let consequence = entries.iter().zip(0u32..).any(|((key, _), index)| {
            let meant = !fields.contains(&key.as_str()) && nearest(key, fields.iter().copied()) == Some(name);
            meant || (key.as_str() == name && self.is_pruned(index))
        });
        if consequence {
            return What::Silent;
        }
        let (at, name_of_struct) = self.here(struct_node);
        let message = match name_of_struct {
            Some(parent) => format!("missing key `{name}` in `{parent}`"),
            None => format!("missing key `{name}`"),
        };
        What::Placed(Fault::new(at, message))
    }

    /// The key of the value at the present path and its dotted name, or the value's own place if it has no key.
    fn here(&self, node: &Node) -> (Location, Option<String>) {
        let mut name = String::new();
        let mut at = None;
        let mut parent = self.root;
        for &index in self.path.borrow().iter() {
            let index = index as usize;
            if let Some((key, value)) = parent.entries().get(index) {
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(key);
                (at, parent) = (Some(key.at), value);
            } else if let Some(item) = parent.items().get(index) {
                name.push_str(&format!("[{index}]"));
                (at, parent) = (None, item);
            }
        }
        match at {
            Some(at) => (at, Some(name)),
            None => (node.location(), None),
        }
    }
}

/// The places of every key and list item on a path, its end included.
fn along(root: &Node, path: &[u32]) -> Vec<Location> {
    let mut places = Vec::new();
    let mut node = root;
    for &index in path {
        let index = index as usize;
        if let Some((key, value)) = node.entries().get(index) {
            places.push(key.at);
            node = value;
        } else if let Some(item) = node.items().get(index) {
            places.push(item.location());
            node = item;
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use serde::Deserialize;

    use super::*;
    use crate::units::Secret;

    fn read<T: DeserializeOwned>(yaml: &str) -> Result<T, Vec<String>> {
        let mut report = Report::default();
        let node = Node::parse("a", yaml, &mut report);
        let value = node.and_then(|node| node.decode(&mut report));
        let told = |report: &Report| {
            let place = |at: Location| format!("{}:{}", at.line, at.column);
            report.errors().map(|error| format!("{} {}", place(error.at), error.message)).collect()
        };
        match value {
            Some(value) if report.is_empty() => Ok(value),
            Some(_) => panic!("a value although there are errors"),
            None => Err(told(&report)),
        }
    }

    fn errors<T: DeserializeOwned>(yaml: &str) -> Vec<String> {
        match read::<T>(yaml) {
            Ok(_) => Vec::new(),
            Err(errors) => errors,
        }
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pair {
        number: u8,
        text: String,
        #[serde(default)]
        list: Vec<Located<bool>>,
        #[serde(default)]
        inner: Option<Box<Pair>>,
    }

    #[test]
    fn the_type_that_is_asked_for_decides() {
        let pair: Pair = read("{ number: 0x1f, text: 1.10, list: [true] }").unwrap();
        assert_eq!((pair.number, pair.text.as_str()), (31, "1.10"));
        assert_eq!(
            read::<Vec<String>>("[on, 22:22, null, ~, 'x', 1_0]").unwrap(),
            ["on", "22:22", "null", "~", "x", "1_0"]
        );
        assert_eq!(
            read::<Vec<Option<String>>>("[null, ~, 'null']").unwrap(),
            [None, None, Some("null".to_owned())]
        );
        assert_eq!(read::<BTreeMap<u16, IpAddr>>("80: '::1'").unwrap().len(), 1);
        assert_eq!(read::<(i8, f64, char)>("[-3, 1.5, x]").unwrap(), (-3, 1.5, 'x'));
    }

    #[test]
    fn every_error_is_found_and_no_consequence() {
        let yaml = "number: 300\ntext: [a]\nlist: [yes, true, 1]\ninner:\n  numbr: 1\n  text: x\nextra: 1\n";
        assert_eq!(
            errors::<Pair>(yaml),
            [
                "1:9 expected a whole number from 0 to 255, found `300`",
                "2:7 expected a string, found a list",
                "3:8 expected `true` or `false`, found `yes`",
                "3:19 expected `true` or `false`, found `1`",
                "5:3 unknown key `numbr`",
                "7:1 unknown key `extra`",
            ]
        );
        assert_eq!(
            errors::<Pair>("text: a\ninner: { number: 1 }"),
            ["2:1 missing key `text` in `inner`", "1:1 missing key `number`",]
        );
    }

    #[test]
    fn errors_have_an_end() {
        let yaml = format!("[{}]", "x, ".repeat(5000));
        assert_eq!(errors::<Vec<u8>>(&yaml).len(), ERRORS_MAX);
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Shape {
        Dot,
        Circle(u32),
        Box { width: u32, height: u32 },
        Two(u32, u32),
    }

    #[test]
    fn enums_are_a_name_or_a_name_with_settings() {
        let yaml = "[dot, circle: 3, box: { width: 1, height: 2 }, two: [1, 2]]";
        let shapes: Vec<Shape> = read(yaml).unwrap();
        assert_eq!(
            shapes,
            [Shape::Dot, Shape::Circle(3), Shape::Box { width: 1, height: 2 }, Shape::Two(1, 2)]
        );
        let yaml =
            "[dto, circle, dot: 1, { circle: 1, dot: 2 }, circle: x, box: { width: a, heigth: 1 }, [], 7]";
        assert_eq!(
            errors::<Vec<Shape>>(yaml),
            [
                "1:2 unknown value `dto`",
                "1:7 `circle` needs a value",
                "1:15 `dot` takes no settings",
                "1:23 expected one of `dot`, `circle`, `box`, `two`, found a mapping",
                "1:54 expected a whole number from 0 to 4294967295, found `x`",
                "1:71 expected a whole number from 0 to 4294967295, found `a`",
                "1:74 unknown key `heigth`",
                "1:87 expected one of `dot`, `circle`, `box`, `two`, found a list",
                "1:91 unknown value `7`",
            ]
        );
    }

    #[derive(Debug, Deserialize)]
    struct Outer {
        name: String,
        #[serde(flatten)]
        rest: BTreeMap<String, Loose>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Loose {
        Flag(bool),
        Number(i64),
        Text(String),
        List(Vec<Loose>),
    }

    #[derive(Debug, Deserialize)]
    struct Flat {
        #[serde(flatten)]
        inner: Holder,
    }

    #[derive(Debug, Deserialize)]
    struct Holder {
        key: Secret,
    }

    #[test]
    fn flattened_and_untagged_values_are_read_by_the_core_schema() {
        let outer: Outer = read("{ name: a, x: true, y: -1, z: [yes, '1'] }").unwrap();
        assert_eq!(outer.name, "a");
        assert_eq!(outer.rest["x"], Loose::Flag(true));
        assert_eq!(outer.rest["y"], Loose::Number(-1));
        assert_eq!(
            outer.rest["z"],
            Loose::List(vec![Loose::Text("yes".to_owned()), Loose::Text("1".to_owned())])
        );
        assert_eq!(errors::<Outer>("{ name: a, x: { y: z } }").len(), 1);
        let flat: Flat = read("key: ${CARGO_PKG_NAME}").unwrap();
        assert_eq!(flat.inner.key.expose(), "sallyport-config");
        assert_eq!(errors::<Flat>("key: hunter2").len(), 1);
    }

    #[test]
    fn places_are_those_of_the_file() {
        let list: Vec<Located<String>> = read("- a\n-   'b'\n").unwrap();
        assert_eq!((list[0].at.line, list[0].at.column), (1, 3));
        assert_eq!((list[1].at.line, list[1].at.column), (2, 5));
        let map: crate::Named<Located<u8>> = read("{ ä: 1, b: 2 }").unwrap();
        let places: Vec<_> = map.iter().map(|(name, value)| (name.at.column, value.at.column)).collect();
        assert_eq!(places, [(3, 6), (9, 12)]);
    }

    #[test]
    fn a_node_is_handed_over_whole() {
        let nodes: BTreeMap<String, Node> = read("{ a: 'true', b: [1, x], c: '${HOME_OF_NOBODY}' }").unwrap();
        let json = serde_json::to_string(&nodes).unwrap();
        assert_eq!(json, r#"{"a":"true","b":[1,"x"],"c":"${HOME_OF_NOBODY}"}"#);
        let again: Node = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), json);
    }
}
