//! A tree becomes a value of a Rust type, through serde, and every error is found, not the first only.
//!
//! A visitor stops at its first bad value. So the error is noted, the list item or mapping entry that it is in is
//! left out, and the tree is read again, until nothing stops the reader. What is missing only because it was left
//! out is not reported. Keys that a struct does not know are reported and passed over on the way.

use std::cell::RefCell;
use std::collections::HashSet;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use crate::core_schema::{self, Plain};
use crate::decode_error::{DecodeError, What, unknown};
use crate::fault::Fault;
use crate::located::{self, LOCATED, Located, Location};
use crate::node::{self, Kind, NODE, Node};
use crate::report::{Report, nearest};
use crate::secrets;
use crate::text_or_map::TEXT_OR_MAP;

/// The most errors that one tree is searched for.
const ERRORS_MAX: usize = 100;

/// The most times that one tree is read: an error may cost a few tries until what depends on it is left out too.
const TRIES_MAX: usize = 4 * ERRORS_MAX;

/// What could be read of a tree.
pub(crate) struct Partial<T> {
    /// The value, less what was wrong; `None` if nothing could be left out.
    pub(crate) value: Option<T>,
    /// Every key and value something inside which was wrong and left out: nothing should be concluded from them.
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
            let error = match T::deserialize(Reader { node: root, context: &context }) {
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
struct Context<'a> {
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

    fn is_pruned(&self, index: u32) -> bool {
        if self.pruned.is_empty() {
            return false;
        }
        let mut path = self.path.borrow().clone();
        path.push(index);
        self.pruned.contains(&path)
    }

    /// Reads a child. An error gets its place, and what to leave out if nothing smaller inside was named.
    fn child<T>(
        &self,
        index: u32,
        node: &Node,
        key: Option<Location>,
        read: impl FnOnce() -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        self.path.borrow_mut().push(index);
        let result = read();
        let result = result.map_err(|error| {
            let mut error = error.place(node, key);
            error.0.prune.get_or_insert_with(|| self.path.borrow().clone());
            error
        });
        self.path.borrow_mut().pop();
        result
    }

    /// A key that the struct at the present path does not know.
    fn unknown_key(&self, key: &Located<String>, fields: &[&str]) {
        let message = format!("unknown key `{}`", key.value);
        let mut found = self.found.borrow_mut();
        found.tell(unknown(key.at, message, key, fields, "known keys"));
        found.damaged.extend(along(self.root, &self.path.borrow()));
    }

    /// A field that the struct at the present path lacks: an error, or the consequence of one.
    fn missing(&self, name: &'static str, struct_node: &Node, fields: &[&str]) -> What {
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

/// The places of every key and value on a path, both ends included.
fn along(root: &Node, path: &[u32]) -> Vec<Location> {
    let mut places = vec![root.location()];
    let mut node = root;
    for &index in path {
        let index = index as usize;
        if let Some((key, value)) = node.entries().get(index) {
            places.push(key.at);
            node = value;
        } else if let Some(item) = node.items().get(index) {
            node = item;
        }
        places.push(node.location());
    }
    places
}

/// Reads one node.
#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    context: &'a Context<'a>,
}

impl<'a> Reader<'a> {
    fn plain(&self) -> Option<&'a str> {
        match self.node.kind() {
            Kind::Scalar { text, plain: true } => Some(text),
            _ => None,
        }
    }

    fn map<'de, V: Visitor<'de>>(
        self,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_map(Entries { reader: self, fields, next: 0 })
    }

    fn items<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(Items { reader: self, next: 0 })
    }

    fn unsigned<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.plain() {
            Some(text) => match (core_schema::unsigned(text), core_schema::signed(text)) {
                (Some(value), _) => visitor.visit_u64(value),
                (None, Some(value)) => visitor.visit_i64(value),
                (None, None) => Err(DecodeError::unlike(&visitor)),
            },
            None => Err(DecodeError::unlike(&visitor)),
        }
    }

    fn float<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.plain().and_then(core_schema::float) {
            Some(value) => visitor.visit_f64(value),
            None => Err(DecodeError::unlike(&visitor)),
        }
    }
}

macro_rules! numbers {
    ($($method:ident $read:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.$read(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = DecodeError;

    numbers! {
        deserialize_u8 unsigned deserialize_u16 unsigned deserialize_u32 unsigned deserialize_u64 unsigned
        deserialize_i8 unsigned deserialize_i16 unsigned deserialize_i32 unsigned deserialize_i64 unsigned
        deserialize_f32 float deserialize_f64 float
        deserialize_string deserialize_str deserialize_char deserialize_str deserialize_identifier deserialize_str
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.kind() {
            Kind::Sequence(_) => self.items(visitor),
            Kind::Mapping(_) => self.map(None, visitor),
            Kind::Scalar { text, plain } => match core_schema::read(text, *plain) {
                Plain::Null => visitor.visit_unit(),
                Plain::Bool(value) => visitor.visit_bool(value),
                Plain::Unsigned(value) => visitor.visit_u64(value),
                Plain::Signed(value) => visitor.visit_i64(value),
                Plain::Float(value) => visitor.visit_f64(value),
                Plain::Text => visitor.visit_str(text),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.plain() {
            Some("true") => visitor.visit_bool(true),
            Some("false") => visitor.visit_bool(false),
            _ => Err(DecodeError::unlike(&visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.text() {
            Some(text) if secrets::variable(text).is_some() => {
                let fault =
                    Fault::new(Location::NOWHERE, format!("`{text}` stands for a secret, which this is not"));
                Err(DecodeError::new(What::Said(fault.hint("write the value itself"))))
            }
            Some(text) if !self.node.is_empty_scalar() => visitor.visit_str(text),
            _ => Err(DecodeError::unlike(&visitor)),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.plain() {
            Some("null" | "~") => visitor.visit_none(),
            // `tls:` and nothing behind it is a slip; taken for "no TLS" it would be a dangerous one.
            Some("") => Err(DecodeError::expected("a value")),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.plain() {
            Some("null" | "~" | "") => visitor.visit_unit(),
            _ => Err(DecodeError::unlike(&visitor)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match name {
            LOCATED => located::hand_over(self.node.location()),
            NODE => node::hand_over(self.node.clone()),
            TEXT_OR_MAP if self.node.text().is_some() => return self.deserialize_str(visitor),
            _ => {}
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.kind() {
            Kind::Sequence(_) => self.items(visitor),
            _ => Err(DecodeError::unlike(&visitor)),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.kind() {
            Kind::Mapping(_) => self.map(None, visitor),
            _ => Err(DecodeError::unlike(&visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let Kind::Mapping(_) = self.node.kind() else {
            let some: Vec<String> = fields.iter().take(4).map(|name| format!("`{name}`")).collect();
            let more = if fields.len() > some.len() { ", ..." } else { "" };
            return Err(DecodeError::expected(format!("a mapping with {}{more}", some.join(", "))));
        };
        let result = self.map(Some(fields), visitor);
        result.map_err(|mut error| {
            if let What::Missing(name) = error.0.what {
                error.0.what = self.context.missing(name, self.node, fields);
            }
            error
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.node.kind() {
            Kind::Scalar { .. } if !self.node.is_empty_scalar() => {}
            Kind::Mapping(entries) if entries.len() == 1 => {}
            _ => {
                let names: Vec<String> = variants.iter().map(|name| format!("`{name}`")).collect();
                return Err(DecodeError::expected(format!("one of {}", names.join(", "))));
            }
        }
        visitor.visit_enum(Variant(self))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }
}

/// The entries of a mapping that are not left out; with `fields`, those that the struct knows.
struct Entries<'a> {
    reader: Reader<'a>,
    fields: Option<&'static [&'static str]>,
    next: u32,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        let Reader { node, context } = self.reader;
        while let Some((key, value)) = node.entries().get(self.next as usize) {
            let index = self.next;
            self.next += 1;
            if context.is_pruned(index) {
                continue;
            }
            if let Some(fields) = self.fields.filter(|fields| !fields.contains(&key.as_str())) {
                context.unknown_key(key, fields);
                continue;
            }
            let read = || {
                seed.deserialize(KeyReader(key)).map_err(|mut error| {
                    match &mut error.0.what {
                        What::Said(fault) => fault.at = key.at,
                        What::Expected(expected) => {
                            let message = format!("expected {expected}, found `{}`", key.value);
                            error.0.what = What::Said(Fault::new(key.at, message));
                        }
                        _ => {}
                    }
                    error
                })
            };
            return context.child(index, value, Some(key.at), read).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let Reader { node: parent, context } = self.reader;
        let index = self.next.saturating_sub(1);
        let Some((key, node)) = parent.entries().get(index as usize) else {
            return Err(DecodeError::expected("a value"));
        };
        context.child(index, node, Some(key.at), || seed.deserialize(Reader { node, context }))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.reader.node.entries().len().saturating_sub(self.next as usize))
    }
}

/// The items of a list that are not left out.
struct Items<'a> {
    reader: Reader<'a>,
    next: u32,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        let Reader { node: parent, context } = self.reader;
        while let Some(node) = parent.items().get(self.next as usize) {
            let index = self.next;
            self.next += 1;
            if !context.is_pruned(index) {
                return context
                    .child(index, node, None, || seed.deserialize(Reader { node, context }))
                    .map(Some);
            }
        }
        Ok(None)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.reader.node.items().len().saturating_sub(self.next as usize))
    }
}

/// An enum: a bare name, or `name: settings`.
struct Variant<'a>(Reader<'a>);

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = DecodeError;
    type Variant = Payload<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Payload<'a>), DecodeError> {
        let reader = self.0;
        let (name, at, value) = match reader.node.entries().first() {
            Some((key, value)) => (key.as_str(), key.at, Some(value)),
            None => (reader.node.text().unwrap_or_default(), reader.node.location(), None),
        };
        let value = value.map(|node| Reader { node, context: reader.context });
        match seed.deserialize(StrDeserializer::<DecodeError>::new(name)) {
            Ok(variant) => Ok((variant, Payload { name: name.to_owned(), value })),
            Err(mut error) => {
                if let What::Said(fault) = &mut error.0.what {
                    fault.at = at;
                }
                Err(error)
            }
        }
    }
}

/// What follows the name of a variant.
struct Payload<'a> {
    name: String,
    value: Option<Reader<'a>>,
}

impl<'a> Payload<'a> {
    fn read<T>(self, read: impl FnOnce(Reader<'a>) -> Result<T, DecodeError>) -> Result<T, DecodeError> {
        let Some(reader) = self.value else {
            let fault = Fault::new(Location::NOWHERE, format!("`{}` needs a value", self.name));
            return Err(DecodeError::new(What::Said(fault.hint(format!("write `{}: ...`", self.name)))));
        };
        reader.context.path.borrow_mut().push(0);
        let result = read(reader).map_err(|error| error.place(reader.node, None));
        reader.context.path.borrow_mut().pop();
        result
    }
}

impl<'de> VariantAccess<'de> for Payload<'_> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        match self.value {
            None => Ok(()),
            Some(_) => {
                let fault = Fault::new(Location::NOWHERE, format!("`{}` takes no settings", self.name));
                Err(DecodeError::new(What::Said(fault.hint(format!("write `{}` alone", self.name)))))
            }
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DecodeError> {
        self.read(|reader| seed.deserialize(reader))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.read(|reader| reader.deserialize_seq(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.read(|reader| reader.deserialize_struct("", fields, visitor))
    }
}

/// Reads a key: text, or whatever parses from it.
struct KeyReader<'a>(&'a Located<String>);

impl<'a> KeyReader<'a> {
    fn number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match core_schema::unsigned(self.0) {
            Some(value) => visitor.visit_u64(value),
            None => visitor.visit_str(self.0),
        }
    }
}

impl<'de> Deserializer<'de> for KeyReader<'_> {
    type Error = DecodeError;

    numbers! {
        deserialize_u8 number deserialize_u16 number deserialize_u32 number deserialize_u64 number
        deserialize_i8 number deserialize_i16 number deserialize_i32 number deserialize_i64 number
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_str(self.0)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == LOCATED {
            located::hand_over(self.0.at);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        IntoDeserializer::<DecodeError>::into_deserializer(self.0.as_str())
            .deserialize_enum(name, variants, visitor)
    }

    serde::forward_to_deserialize_any! {
        bool f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}
