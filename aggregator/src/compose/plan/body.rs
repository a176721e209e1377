//! The JSON body of a call: a template whose strings may hold fields.

use sallyport_config::{Located, Node, Report};

use super::Body;
use super::branch::literal;
use crate::compose::text::{FieldError, FieldFault, Known, Scope, Text};
use crate::json::{Piece, Rope, Template};

/// A JSON value in which strings may hold fields; compiled at load. A string that is one field and nothing else is the value
/// itself, in any other the values of fields are put as texts. Names of members hold no fields.
#[derive(Debug)]
pub struct BodyTemplate {
    template: Template,
    texts: Box<[Text]>,
}

/// Compiles `body:`.
pub(super) fn compile(node: &Node, scope: &Scope<'_>, report: &mut Report) -> Option<Body> {
    if node.text() == Some("request") {
        return Some(Body::Request);
    }
    let written = literal(node, report)?;
    let mut strings = Vec::new();
    add_strings(node, &mut strings);
    let mut strings = strings.into_iter();
    let mut texts = Vec::new();
    let mut sound = true;
    // The template asks for its strings in the order of the file.
    let template = Template::new(&written, |_| {
        let text = strings.next().and_then(|source| Text::compile(&source, scope, report));
        sound &= text.is_some();
        Ok::<Piece, std::convert::Infallible>(match text {
            None => Piece::Itself,
            Some(text) => match text.literal() {
                Some(literal) => Piece::Text(literal.to_owned()),
                None => {
                    texts.push(text);
                    Piece::Slot(texts.len() - 1)
                }
            },
        })
    });
    let Ok(template) = template;
    sound.then(|| Body::Template(BodyTemplate { template, texts: texts.into() }))
}

/// The strings of a value with their places, in order; names of members are not among them.
pub(super) fn add_strings(node: &Node, strings: &mut Vec<Located<String>>) {
    // How deep it may go was checked when the file was parsed.
    for item in node.items() {
        add_strings(item, strings);
    }
    for (_, value) in node.entries() {
        add_strings(value, strings);
    }
    if let Some(text) =
        node.text().filter(|_| serde_json::to_value(node).is_ok_and(|value| value.is_string()))
    {
        strings.push(Located::new(text.to_owned(), node.location()));
    }
}

impl BodyTemplate {
    /// The texts with fields in it, in order.
    pub fn texts(&self) -> impl Iterator<Item = &Text> {
        self.texts.iter()
    }

    /// The body with its fields filled in. Values of results share their memory.
    ///
    /// # Errors
    ///
    /// If a field has no value; in a text that is more than one field also if it is no string, number or boolean; and at
    /// the text with which all values together are longer than `bytes_max`.
    pub fn render(&self, known: &Known<'_>, bytes_max: usize) -> Result<Rope, FieldError> {
        let mut values = Vec::with_capacity(self.texts.len());
        let mut bytes = 0usize;
        for text in &self.texts {
            let value = text.json(known)?;
            bytes = bytes.saturating_add(value.bytes().len());
            if let Some(field) = text.fields().last().filter(|_| bytes > bytes_max) {
                return Err(field.error(FieldFault::TooLong));
            }
            values.push(value);
        }
        Ok(self.template.render(|slot| values.get(slot).cloned()))
    }
}
