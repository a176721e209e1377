//! The values of a condition's variables: borrowed, and cheap to bind.

use serde_json::Value;
use smallvec::SmallVec;

/// What a variable or a place holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Found<'a> {
    /// A text.
    Text(&'a str),
    /// Any other value of JSON.
    Json(&'a Value),
}

impl<'a> Found<'a> {
    /// A value of JSON; strings become [`Found::Text`].
    pub fn of(value: &'a Value) -> Self {
        match value {
            Value::String(text) => Found::Text(text),
            other => Found::Json(other),
        }
    }
}

/// The values of variables for one or more evaluations. Binding borrows and copies nothing; up to eight variables need
/// no allocation. A variable that is not bound is an error where a condition reads it.
#[derive(Debug, Clone, Default)]
pub struct Vars<'a> {
    bound: SmallVec<[(&'a str, Found<'a>); 8]>,
}

impl<'a> Vars<'a> {
    /// No variables.
    pub fn new() -> Self {
        Vars::default()
    }

    /// Binds a variable to a value; the latest binding of a name counts.
    #[must_use]
    pub fn bind(mut self, name: &'a str, value: &'a Value) -> Self {
        self.bound.push((name, Found::of(value)));
        self
    }

    /// Binds a variable to a text.
    #[must_use]
    pub fn bind_text(mut self, name: &'a str, text: &'a str) -> Self {
        self.bound.push((name, Found::Text(text)));
        self
    }

    /// Binds each member of an object to the variable of its name; of any other value nothing.
    #[must_use]
    pub fn bind_members(mut self, object: &'a Value) -> Self {
        for (name, value) in object.as_object().into_iter().flatten() {
            self.bound.push((name, Found::of(value)));
        }
        self
    }

    /// What a variable is bound to.
    pub fn find(&self, name: &str) -> Option<Found<'a>> {
        self.bound.iter().rev().find(|(known, _)| *known == name).map(|(_, found)| *found)
    }
}
