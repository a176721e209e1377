//! Literal runs and slots: what an object of named slots and a template are compiled to.
//!
//! Rendering is putting pieces one behind the other. The one decision left to it is a comma: a slot that is left out
//! takes its member or element with it, so whether there is something to separate may only be known then.

use bytes::Bytes;

use super::checked::Checked;
use super::rope::Rope;

/// What is rendered, in order.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    steps: Vec<Step>,
}

/// Literal text, and a slot behind it if there is one.
#[derive(Debug, Clone)]
struct Step {
    comma: Comma,
    /// Literal text; begins with a comma unless [`Comma::None`].
    text: Bytes,
    slot: Option<usize>,
}

/// Whether the text of a step keeps the comma that it begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comma {
    /// It has none.
    None,
    /// Nothing stands before it in its array or object.
    Never,
    /// If one of the slots since [`Comma::Never`] was filled.
    IfFilled,
    /// Something always stands before it.
    Always,
}

impl Layout {
    /// Puts values into the slots. One that has none is left out; a slot that is the whole layout is `null` then.
    pub(super) fn render(&self, mut value_of: impl FnMut(usize) -> Option<Checked>) -> Rope {
        let mut rope = Rope::with_capacity(2 * self.steps.len());
        let mut filled = false;
        for step in &self.steps {
            // Only a slot begins an array or object that may stay empty.
            filled &= step.comma != Comma::Never;
            let value = match step.slot.map(&mut value_of) {
                Some(None) => continue,
                Some(value) => value,
                None => None,
            };
            let kept = match step.comma {
                Comma::None | Comma::Always => true,
                Comma::Never => false,
                Comma::IfFilled => filled,
            };
            rope.push(if kept { step.text.clone() } else { step.text.slice(1..) });
            if let Some(value) = value {
                filled = true;
                rope.push(value.into_bytes());
            }
        }
        if rope.bytes() == 0 { Checked::null().into() } else { rope }
    }
}

/// Puts a layout together, from the outside in and from left to right.
#[derive(Debug, Default)]
pub(super) struct Builder {
    steps: Vec<Step>,
    text: Vec<u8>,
    comma: Option<Comma>,
    open: Vec<Before>,
}

/// What stands before the next member or element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// Slots only, which may all be left out.
    Slots,
    Something,
}

impl Builder {
    /// Begins an object (`{`) or array (`[`) with this name; `None` in an array and at the root.
    pub(super) fn open(&mut self, name: Option<&[u8]>, bracket: u8) {
        self.literal(name, &[bracket]);
        self.open.push(Before::Nothing);
    }

    /// Ends what was opened last.
    pub(super) fn close(&mut self, bracket: u8) {
        self.open.pop();
        self.text.push(bracket);
    }

    /// Adds a value that is always there. The name is in quotation marks.
    pub(super) fn literal(&mut self, name: Option<&[u8]>, value: &[u8]) {
        match self.open.last_mut() {
            None => {}
            Some(before) => {
                match before {
                    Before::Nothing => {}
                    Before::Something => self.text.push(b','),
                    Before::Slots => {
                        self.comma = Some(Comma::IfFilled);
                        self.text.push(b',');
                    }
                }
                *before = Before::Something;
            }
        }
        self.name(name);
        self.text.extend_from_slice(value);
    }

    /// Adds the slot of this number. The name is in quotation marks.
    pub(super) fn slot(&mut self, name: Option<&[u8]>, slot: usize) {
        self.end_text();
        let comma = match self.open.last_mut() {
            None => Comma::None,
            Some(Before::Something) => Comma::Always,
            Some(before @ Before::Nothing) => {
                *before = Before::Slots;
                Comma::Never
            }
            Some(Before::Slots) => Comma::IfFilled,
        };
        if comma != Comma::None {
            self.text.push(b',');
        }
        self.name(name);
        let text = Bytes::from(std::mem::take(&mut self.text));
        self.steps.push(Step { comma, text, slot: Some(slot) });
    }

    /// What was put together.
    pub(super) fn finish(mut self) -> Layout {
        self.end_text();
        Layout { steps: self.steps }
    }

    fn name(&mut self, name: Option<&[u8]>) {
        if let Some(name) = name {
            self.text.extend_from_slice(name);
            self.text.push(b':');
        }
    }

    fn end_text(&mut self) {
        if !self.text.is_empty() {
            let comma = self.comma.take().unwrap_or(Comma::None);
            let text = Bytes::from(std::mem::take(&mut self.text));
            self.steps.push(Step { comma, text, slot: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::template::{Piece, Template};
    use super::super::{Limits, scan};
    use super::*;

    const LIMITS: Limits = Limits { depth_max: 16, bytes_max: 4096 };

    /// Renders a template whose slots are the strings that are one capital letter, for every choice of filled slots.
    fn all(template: &'static str) -> Vec<String> {
        let checked = Checked::new(Bytes::from_static(template.as_bytes()), &LIMITS).unwrap();
        let mut slots = 0;
        let template = Template::new(&checked, |text| {
            let is_slot = matches!(text.as_bytes(), [b'A'..=b'Z']);
            slots += usize::from(is_slot);
            Ok::<_, ()>(if is_slot { Piece::Slot(slots - 1) } else { Piece::Itself })
        })
        .unwrap();
        let rendered = (0..1 << slots).map(|filled| {
            let rope = template.render(|slot| {
                let digit = Bytes::from(slot.to_string());
                (filled >> slot & 1 == 1).then(|| Checked::new(digit, &LIMITS).unwrap())
            });
            assert_eq!(rope.bytes(), rope.to_vec().len());
            assert!(rope.pieces().iter().all(|piece| !piece.is_empty()));
            scan(&rope.to_vec(), &LIMITS).unwrap();
            String::from_utf8(rope.to_vec()).unwrap()
        });
        rendered.collect()
    }

    #[test]
    fn commas_stand_between_what_is_there() {
        assert_eq!(all(r#"["A", "B"]"#), ["[]", "[0]", "[1]", "[0,1]"]);
        assert_eq!(all(r#"{"a": "A", "b": 7}"#), [r#"{"b":7}"#, r#"{"a":0,"b":7}"#]);
        assert_eq!(all(r#"{"a": 7, "b": "A"}"#), [r#"{"a":7}"#, r#"{"a":7,"b":0}"#]);
        assert_eq!(all(r#"["A", 7, "B"]"#), ["[7]", "[0,7]", "[7,1]", "[0,7,1]"]);
        assert_eq!(all(r#"["A", ["B"], 7]"#), ["[[],7]", "[0,[],7]", "[[1],7]", "[0,[1],7]"]);
        assert_eq!(all(r#"[["A"], "B"]"#), ["[[]]", "[[0]]", "[[],1]", "[[0],1]"]);
        assert_eq!(
            all(r#"["A", "B", {"x": "C"}]"#),
            [
                "[{}]",
                "[0,{}]",
                "[1,{}]",
                "[0,1,{}]",
                r#"[{"x":2}]"#,
                r#"[0,{"x":2}]"#,
                r#"[1,{"x":2}]"#,
                r#"[0,1,{"x":2}]"#
            ]
        );
        assert_eq!(all(r#" "A" "#), ["null", "0"]);
        assert_eq!(all(r#" {"n" : [ 1.0 , "a" ] , "e" : { } } "#), [r#"{"n":[1.0,"a"],"e":{}}"#]);
        assert_eq!(all("7"), ["7"]);
    }
}
