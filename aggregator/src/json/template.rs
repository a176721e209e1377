//! Templates: a JSON value in which some strings are slots. Which ones, their author's caller says.
//!
//! Every other value stands for itself, byte for byte but for blanks between values. Names of members are never slots.

use super::checked::{Checked, Part, quoted};
use super::layout::{Builder, Layout};
use super::rope::Rope;
use super::scan::Kind;

/// A value of literals and slots, compiled to what has to be put one behind the other.
#[derive(Debug, Clone)]
pub struct Template {
    layout: Layout,
}

/// What a string of a template stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Itself, as it was written.
    Itself,
    /// Another text.
    Text(String),
    /// A value that is put in its place each time; the caller numbers its slots.
    Slot(usize),
}

impl Template {
    /// Compiles a template. `read` says what each of its strings stands for, in the order of the text; strings with lone
    /// surrogates stand for themselves. Recurses once for each level.
    ///
    /// # Errors
    ///
    /// The first that `read` returns.
    pub fn new<E>(template: &Checked, mut read: impl FnMut(&str) -> Result<Piece, E>) -> Result<Template, E> {
        let mut builder = Builder::default();
        add(&mut builder, None, template.whole(), &mut read)?;
        Ok(Template { layout: builder.finish() })
    }

    /// An object with one slot for each name, numbered from 0.
    pub fn of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Template {
        let mut builder = Builder::default();
        builder.open(None, b'{');
        for (slot, name) in names.into_iter().enumerate() {
            builder.slot(Some(&quoted(name)), slot);
        }
        builder.close(b'}');
        Template { layout: builder.finish() }
    }

    /// Puts values into the slots, without copying them. Where there is none, the member or element is left out with its
    /// slot; if the slot is the whole template, the value is `null`.
    pub fn render(&self, value_of: impl FnMut(usize) -> Option<Checked>) -> Rope {
        self.layout.render(value_of)
    }
}

fn add<E>(
    builder: &mut Builder,
    name: Option<&[u8]>,
    part: Part<'_>,
    read: &mut impl FnMut(&str) -> Result<Piece, E>,
) -> Result<(), E> {
    match part.kind() {
        Kind::Object => {
            builder.open(name, b'{');
            for member in part.members() {
                add(builder, Some(member.key.written()), member.value, read)?;
            }
            builder.close(b'}');
        }
        Kind::Array => {
            builder.open(name, b'[');
            for element in part.elements() {
                add(builder, None, element, read)?;
            }
            builder.close(b']');
        }
        Kind::String => {
            let meaning = part.string().map(|string| string.meaning()).unwrap_or_default();
            match std::str::from_utf8(&meaning).map_or(Ok(Piece::Itself), read)? {
                Piece::Itself => builder.literal(name, part.bytes()),
                Piece::Text(text) => builder.literal(name, &quoted(&text)),
                Piece::Slot(slot) => builder.slot(name, slot),
            }
        }
        Kind::Number | Kind::Bool | Kind::Null => builder.literal(name, part.bytes()),
    }
    Ok(())
}
