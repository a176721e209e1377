//! Members, elements and paths of checked values. Values are skipped, not read again: they are known to be JSON.
//!
//! All of it only moves forward and ends at the latest with the bytes, whatever they are; that the bytes were checked
//! makes the answers right, not the code safe.

use sallyport_condition::{FieldPath, Step};

use super::checked::Part;
use super::quoted::Quoted;
use super::run;
use super::scan::Kind;

impl<'a> Part<'a> {
    /// The members of an object in the order of the text, those of the same name too; of any other value none.
    pub fn members(self) -> Members<'a> {
        Members { of: self, next: first(self, b'{') }
    }

    /// The elements of an array; of any other value none.
    pub fn elements(self) -> Elements<'a> {
        Elements { of: self, next: first(self, b'[') }
    }

    /// The string as it was written, if it is one.
    pub fn string(self) -> Option<Quoted<'a>> {
        (self.kind() == Kind::String).then(|| Quoted::new(self.bytes()))
    }

    /// The value at a path, or `None` if it leads nowhere. Of a name that comes twice the last counts, as in
    /// [`sallyport_condition::slice`] and in browsers; names are compared without their escapes.
    pub fn find(self, path: &FieldPath) -> Option<Part<'a>> {
        path.steps().iter().try_fold(self, |part, step| match step {
            Step::Name(name) => {
                part.members().filter(|member| member.key.is(name)).last().map(|member| member.value)
            }
            Step::Index(index) => part.elements().nth(*index),
        })
    }
}

/// A member of an object.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// Its name as written.
    pub key: Quoted<'a>,
    /// Its value.
    pub value: Part<'a>,
}

/// See [`Part::members`].
#[derive(Debug, Clone)]
pub struct Members<'a> {
    of: Part<'a>,
    /// Where the next name begins.
    next: Option<usize>,
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        let text = self.of.bytes();
        let (key, start) = key(text, self.next.take()?)?;
        let end = past(text, start);
        self.next = after_comma(text, end);
        Some(Member { key, value: self.of.inner(start, end) })
    }
}

/// See [`Part::elements`].
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    of: Part<'a>,
    /// Where the next element begins.
    next: Option<usize>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let text = self.of.bytes();
        let start = self.next.take()?;
        let end = past(text, start);
        self.next = after_comma(text, end);
        Some(self.of.inner(start, end))
    }
}

/// Where the first member or element begins, if the value begins with this bracket and holds anything.
fn first(part: Part<'_>, bracket: u8) -> Option<usize> {
    let text = part.bytes();
    if text.first() != Some(&bracket) {
        return None;
    }
    let at = run::blanks(text, 1);
    // The bracket that closes an empty value is its last byte.
    (at + 1 < text.len()).then_some(at)
}

fn after_comma(text: &[u8], end: usize) -> Option<usize> {
    let at = run::blanks(text, end);
    (text.get(at) == Some(&b',')).then(|| run::blanks(text, at + 1))
}

/// The name that begins at a place, and where its value begins.
pub(super) fn key(text: &[u8], at: usize) -> Option<(Quoted<'_>, usize)> {
    let end = past_string(text, at);
    let key = Quoted::new(text.get(at..end)?);
    // Between the two stands the colon.
    Some((key, run::blanks(text, run::blanks(text, end) + 1)))
}

/// Where the value ends that begins at a place.
pub(super) fn past(text: &[u8], at: usize) -> usize {
    match text.get(at) {
        Some(b'"') => past_string(text, at),
        Some(b'{' | b'[') => past_brackets(text, at),
        _ => {
            let rest = text.get(at..).unwrap_or_default();
            let end = rest
                .iter()
                .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\t' | b'\r'));
            at + end.unwrap_or(rest.len())
        }
    }
}

#[inline]
fn past_string(text: &[u8], start: usize) -> usize {
    let mut at = run::plain(text, start + 1);
    while text.get(at) == Some(&b'\\') {
        // What is escaped may be a quotation mark.
        at = run::plain(text, at + 2);
    }
    text.len().min(at + 1)
}

fn past_brackets(text: &[u8], start: usize) -> usize {
    let mut at = start;
    let mut depth = 0usize;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                at = past_string(text, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::generate::{LIMITS, checked, document, without_blanks};
    use super::super::{Checked, scan};
    use super::*;

    fn path(dotted: &str) -> FieldPath {
        FieldPath::new(dotted.split('.').filter(|name| !name.is_empty()).map(|name| match name.parse() {
            Ok(index) => Step::Index(index),
            Err(_) => Step::Name(name.into()),
        }))
    }

    fn text(part: Part<'_>) -> &str {
        std::str::from_utf8(part.bytes()).unwrap()
    }

    #[test]
    fn members_and_elements_are_told_as_they_stand() {
        let object = checked(r#" { "a" : 1.0 , "b\"":"x\\" , "\u0061":{"c":"}]"},"e":[ ] } "#);
        let members: Vec<_> = object.whole().members().collect();
        let told: Vec<_> = members.iter().map(|member| (member.key.raw(), text(member.value))).collect();
        assert_eq!(
            told,
            [
                (&b"a"[..], "1.0"),
                (&br#"b\""#[..], r#""x\\""#),
                (&br"\u0061"[..], r#"{"c":"}]"}"#),
                (&b"e"[..], "[ ]")
            ]
        );
        assert_eq!(object.whole().elements().count(), 0);
        let array = checked("[ -1e5, [[ ],[2]] ,\"],\" ,null]");
        let elements: Vec<_> = array.whole().elements().map(text).collect();
        assert_eq!(elements, ["-1e5", "[[ ],[2]]", "\"],\"", "null"]);
        assert_eq!(array.whole().members().count(), 0);
        for empty in ["{}", "{ }", "[]", "[\n]", "7", "\"[\"", "null"] {
            let empty = checked(empty);
            assert_eq!(empty.whole().members().count() + empty.whole().elements().count(), 0, "{empty:?}");
        }
    }

    #[test]
    fn a_path_leads_to_one_value_or_none() {
        let document =
            checked(r#"{"id": 1, "data": { "b" : [1.0, 1e2 , "\u0041"] }, "x": null, "\u0079": 2}"#);
        let find = |dotted: &str| document.whole().find(&path(dotted)).map(text);
        assert_eq!(find("data"), Some(r#"{ "b" : [1.0, 1e2 , "\u0041"] }"#));
        assert_eq!(find("data.b.1"), Some("1e2"));
        assert_eq!((find("x"), find("y")), (Some("null"), Some("2")));
        assert_eq!((find("data.b.3"), find("id.x"), find("data.0"), find("z")), (None, None, None, None));
        assert_eq!(find(""), Some(text(document.whole())));
        let found = document.whole().find(&path("data.b.2")).unwrap();
        assert_eq!(found.string().map(|string| string.is("A")), Some(true));
        assert!(document.whole().string().is_none());
    }

    /// RFC 8259, section 4, leaves names that come twice open.
    #[test]
    fn of_a_name_that_comes_twice_the_last_counts() {
        let find = |json: &str, dotted: &str| {
            checked(json).whole().find(&path(dotted)).map(|part| text(part).to_owned())
        };
        assert_eq!(find(r#"{"a": 1, "\u0061": 2}"#, "a"), Some("2".to_owned()));
        assert_eq!(find(r#"{"a": {"b": 1}, "a": 2}"#, "a.b"), None);
    }

    fn any_path() -> impl Strategy<Value = FieldPath> {
        let step = prop_oneof![
            2 => "[abc]".prop_map(|name| Step::Name(name.into())),
            1 => (0usize..4).prop_map(Step::Index),
        ];
        prop::collection::vec(step, 0..4).prop_map(FieldPath::new)
    }

    /// Puts a value together again from what walking it tells.
    fn rebuilt(part: Part<'_>) -> String {
        let members = part.members().map(|member| {
            let key = std::str::from_utf8(member.key.written()).unwrap();
            format!("{key}:{}", rebuilt(member.value))
        });
        match part.kind() {
            Kind::Object => format!("{{{}}}", members.collect::<Vec<_>>().join(",")),
            Kind::Array => format!("[{}]", part.elements().map(rebuilt).collect::<Vec<_>>().join(",")),
            _ => text(part).to_owned(),
        }
    }

    proptest! {
        #[test]
        fn walking_tells_all_of_a_document(json in document()) {
            prop_assert_eq!(rebuilt(checked(&json).whole()), without_blanks(&json));
        }

        #[test]
        fn every_part_is_json(json in document()) {
            let document = checked(&json);
            let values = document.whole().members().map(|member| member.value);
            for part in values.chain(document.whole().elements()) {
                prop_assert_eq!(scan(part.bytes(), &LIMITS), Ok((part.kind(), 0..part.bytes().len())));
            }
        }

        /// Where serde_json refuses a lone surrogate on the way, there is nothing to compare.
        #[test]
        fn a_path_leads_where_the_slices_of_conditions_lead(json in document(), path in any_path()) {
            if let Ok(found) = sallyport_condition::slice(json.as_bytes(), &path) {
                let document = checked(&json);
                prop_assert_eq!(document.whole().find(&path).map(text), found);
            }
        }

        #[test]
        fn bytes_that_were_never_checked_end_all_the_same(json in r#"[\[\]{}:,"a1\\u ]{0,40}"#) {
            let unchecked = Checked::built(json.into_bytes());
            for member in unchecked.whole().members() {
                let _ = (member.key.meaning(), member.value.to_checked());
            }
            prop_assert!(unchecked.whole().elements().count() <= 40);
            let _ = unchecked.whole().inside();
        }
    }
}
