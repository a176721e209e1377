//! `call` of a branch: `METHOD upstream/path?query`, taken apart and put together again for each request.

use http::Method;
use sallyport_config::{Located, Report, nearest};

use super::words;
use super::{Call, Parameter, ViewCall};
use crate::compose::text::{
    FieldError, FieldFault, Fragment, Known, Origin, Piece, Scope, Text, fragment, is_segment_literal,
    joined, pieces,
};

/// The most bytes of a call's target, path and query together: more than that few servers take.
pub const TARGET_BYTES_MAX: usize = 16 * 1024;

/// The most bytes of a call as written.
const CALL_BYTES_MAX: usize = 2048;

/// Methods that calls may have. HEAD and OPTIONS bring nothing that an answer could be made of.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

const SHAPE: &str =
    "a call is written `GET users/v1/users/{claims.sub}`: a method, then an upstream and a path";

/// What a call says, its upstream still by name.
pub(super) struct Line {
    pub(super) method: Method,
    pub(super) upstream: Located<String>,
    pub(super) path: Text,
    pub(super) query: Box<[Parameter]>,
}

/// A character or a field of the target, and where it stands in the call, in characters.
#[derive(Clone, Copy)]
enum Unit<'a> {
    Char(char, usize),
    Field(Piece<'a>),
}

impl Unit<'_> {
    fn at(self) -> usize {
        match self {
            Unit::Char(_, at) => at,
            Unit::Field(piece) => piece.at,
        }
    }

    fn is(self, wanted: char) -> bool {
        matches!(self, Unit::Char(c, _) if c == wanted)
    }
}

/// A call while it is compiled.
struct Reading<'a, 'r> {
    source: &'a Located<String>,
    scope: &'a Scope<'a>,
    report: &'r mut Report,
}

/// Reads a call. Every fault that can be told apart is told.
pub(super) fn line(source: &Located<String>, scope: &Scope<'_>, report: &mut Report) -> Option<Line> {
    if source.len() > CALL_BYTES_MAX {
        report.error(source.at, format!("a call has at most {CALL_BYTES_MAX} bytes"));
        return None;
    }
    let pieces = pieces(source, report)?;
    let mut reading = Reading { source, scope, report };
    let units: Vec<Unit<'_>> = pieces.iter().flat_map(units).collect();
    let blank = units.iter().position(|unit| unit.is(' '));
    let slash = units.iter().position(|unit| unit.is('/'));
    let Some(blank) = blank.filter(|blank| slash.is_none_or(|slash| *blank < slash)) else {
        reading.no_method(&units, slash);
        return None;
    };
    let method = reading.method(&text(&units[..blank]));
    let start = blank + units[blank..].iter().take_while(|unit| unit.is(' ')).count();
    let Some(slash) = slash else {
        let name = text(&units[start..]);
        reading.error(start, format!("a path is missing behind `{name}`")).hint(SHAPE);
        return None;
    };
    let upstream = &units[start..slash];
    if matches!(text(upstream).as_str(), "http:" | "https:") {
        reading
            .error(start, "a call names an upstream, not a URL".to_owned())
            .hint("where it is and whether it is TLS is said in `upstreams`");
        return None;
    }
    let upstream = reading.upstream(upstream, start);
    let target = &units[slash..];
    let question = target.iter().position(|unit| unit.is('?'));
    let path = reading.path(&target[..question.unwrap_or(target.len())]);
    let query = reading.query(question.map_or(&[][..], |question| &target[question + 1..]));
    Some(Line { method: method?, upstream: upstream?, path: path?, query: query? })
}

fn units<'a>(piece: &Piece<'a>) -> Vec<Unit<'a>> {
    if piece.is_field {
        return vec![Unit::Field(*piece)];
    }
    piece.text.chars().enumerate().map(|(index, c)| Unit::Char(c, piece.at + index)).collect()
}

/// Units as they were written.
fn text(units: &[Unit<'_>]) -> String {
    units
        .iter()
        .map(|unit| match unit {
            Unit::Char(c, _) => c.to_string(),
            Unit::Field(piece) => format!("{{{}}}", piece.text),
        })
        .collect()
}

impl<'a> Reading<'a, '_> {
    fn error(&mut self, character: usize, message: String) -> &mut sallyport_config::Diagnostic {
        let at = self.report.inside(self.source.at, self.source, character);
        self.report.error(at, message)
    }

    fn no_method(&mut self, units: &[Unit<'_>], slash: Option<usize>) {
        let written = text(units);
        if slash.is_some() {
            self.error(0, format!("a method is missing before `{written}`"))
                .hint(format!("write `GET {written}`"));
        } else {
            self.error(0, format!("`{written}` is no call")).hint(SHAPE);
        }
    }

    fn method(&mut self, name: &str) -> Option<Method> {
        if METHODS.contains(&name) {
            return Method::from_bytes(name.as_bytes()).ok();
        }
        let upper = name.to_ascii_uppercase();
        let error = self.error(0, format!("a call cannot be made with `{name}`"));
        if METHODS.contains(&upper.as_str()) {
            error.hint(format!("methods are written in upper case: `{upper}`"));
        } else if let Some(near) = nearest(name, METHODS) {
            error.hint(format!("did you mean `{near}`?"));
        } else {
            error.hint(format!("the methods of calls are {}", words::list(METHODS)));
        }
        None
    }

    fn upstream(&mut self, units: &[Unit<'_>], start: usize) -> Option<Located<String>> {
        let name = text(units);
        if units.is_empty() {
            self.error(start, "an upstream is missing before the path".to_owned()).hint(SHAPE);
            return None;
        }
        if let Some(field) = units.iter().find(|unit| matches!(unit, Unit::Field(_))) {
            self.error(field.at(), "which upstream is called cannot depend on the request".to_owned())
                .hint("write one branch for each upstream, with `when`");
            return None;
        }
        let at = self.report.inside(self.source.at, self.source, start);
        Some(Located::new(name, at))
    }

    /// A path of segments, each of literals and fields. A literal is as in a canonical path.
    fn path(&mut self, units: &[Unit<'a>]) -> Option<Text> {
        let mut sound = true;
        let mut fragments = Vec::new();
        let segments: Vec<&[Unit<'_>]> = units.split(|unit| unit.is('/')).skip(1).collect();
        let mut at = units.first().map_or(0, |unit| unit.at()) + 1;
        for (index, segment) in segments.iter().enumerate() {
            fragments.push(Fragment::Literal("/".into()));
            at = segment.first().map_or(at, |unit| unit.at());
            sound &= self.segment(segment, at, index + 1 == segments.len());
            sound &= self.fragments(segment, &mut fragments);
            at = segment.last().map_or(at, |unit| unit.at() + 1) + 1;
        }
        sound.then(|| Text::new(joined(fragments)))
    }

    fn segment(&mut self, units: &[Unit<'_>], at: usize, last: bool) -> bool {
        let written = text(units);
        let bare = written.replace("%2e", ".").replace("%2E", ".");
        if written.is_empty() && !last {
            self.error(at, "an empty segment in the path".to_owned()).hint("write one `/`");
            return false;
        }
        if bare == "." || bare == ".." {
            self.error(at, format!("`{written}` is no segment of a path"))
                .hint("write the path that is meant, without steps upwards");
            return false;
        }
        if let Some(name) = written.strip_prefix(':').filter(|name| self.scope.params.contains(name)) {
            self.error(at, format!("`{written}` is no parameter here")).hint(format!("write `{{{name}}}`"));
            return false;
        }
        self.characters(units, is_segment_literal)
    }

    fn query(&mut self, units: &[Unit<'a>]) -> Option<Box<[Parameter]>> {
        let parameters = units.split(|unit| unit.is('&')).filter(|parameter| !parameter.is_empty());
        let parameters: Vec<Option<Parameter>> =
            parameters.map(|parameter| self.parameter(parameter)).collect();
        parameters.into_iter().collect()
    }

    fn parameter(&mut self, units: &[Unit<'a>]) -> Option<Parameter> {
        let equals = units.iter().position(|unit| unit.is('='));
        let (name, value) = match equals {
            Some(equals) => (&units[..=equals], Some(&units[equals + 1..])),
            None => (units, None),
        };
        if let Some(field) = name.iter().find(|unit| matches!(unit, Unit::Field(_))) {
            self.error(field.at(), "the name of a query's parameter is fixed".to_owned())
                .hint("write `?name={field}`; several parameters are joined by `&`");
            return None;
        }
        let is_query = |c: char| is_segment_literal(c) || c == '/' || c == '?';
        let mut sound = self.characters(name, is_query);
        let mut fragments = Vec::new();
        sound &= self.characters(value.unwrap_or_default(), is_query);
        sound &= self.fragments(value.unwrap_or_default(), &mut fragments);
        let value = value.map(|_| Text::new(joined(fragments)));
        sound.then(|| Parameter { written: text(name).into(), value })
    }

    /// Refuses what cannot stand in a URL as it is, each kind of fault once.
    fn characters(&mut self, units: &[Unit<'_>], allowed: impl Fn(char) -> bool) -> bool {
        for (index, unit) in units.iter().enumerate() {
            let Unit::Char(c, at) = *unit else { continue };
            if allowed(c) {
                continue;
            }
            match c {
                '%' => {
                    let digits = units.get(index + 1..index + 3).unwrap_or_default();
                    let is_digit =
                        |unit: &Unit<'_>| matches!(unit, Unit::Char(c, _) if c.is_ascii_hexdigit());
                    if digits.len() == 2 && digits.iter().all(is_digit) {
                        continue;
                    }
                    self.error(at, "`%` must be followed by two hexadecimal digits".to_owned());
                }
                '#' => drop(self.error(at, "a call has no fragment".to_owned())),
                ' ' => drop(self.error(at, "a call has two words".to_owned()).hint(SHAPE)),
                c => {
                    let encoded: String =
                        c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")).collect();
                    let message = format!("`{}` must be percent-encoded in a call", c.escape_default());
                    self.error(at, message).hint(format!("write `{encoded}`"));
                }
            }
            return false;
        }
        true
    }

    /// Adds units as fragments. Whether all of them could be read.
    fn fragments(&mut self, units: &[Unit<'a>], fragments: &mut Vec<Fragment>) -> bool {
        let mut sound = true;
        for unit in units {
            match unit {
                Unit::Char(c, _) => fragments.push(Fragment::Literal(c.to_string().into())),
                Unit::Field(piece) => match fragment(piece, self.source, self.scope, self.report) {
                    Some(fragment) => fragments.push(fragment),
                    None => sound = false,
                },
            }
        }
        sound
    }
}

impl Call {
    /// The target of the call, path and query, as it goes into the request's first line. A parameter whose value is one
    /// field without a value is left out, unless that is a claim: a service that is not told whose rows are meant might answer
    /// with everybody's.
    ///
    /// # Errors
    ///
    /// If a field has no value, or none that fits (see [`Text::path`]); and at the field with which the target grows beyond
    /// [`TARGET_BYTES_MAX`].
    pub fn target(&self, known: &Known<'_>) -> Result<String, FieldError> {
        let mut target = String::with_capacity(64);
        self.path.path(known, &mut target)?;
        fits(&self.path, &target)?;
        let mut separator = '?';
        for parameter in &self.query {
            let end = target.len();
            target.push(separator);
            target.push_str(&parameter.written);
            if let Some(value) = &parameter.value {
                match value.query(known, &mut target) {
                    Ok(()) => fits(value, &target)?,
                    Err(error) if may_go(value, &error) => {
                        target.truncate(end);
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            separator = '&';
        }
        Ok(target)
    }

    /// The texts with fields, in order: path, query, body.
    pub fn texts(&self) -> impl Iterator<Item = &Text> {
        let body = match &self.body {
            Some(super::Body::Template(body)) => Some(body.texts()),
            _ => None,
        };
        let query = self.query.iter().filter_map(|parameter| parameter.value.as_ref());
        std::iter::once(&self.path).chain(query).chain(body.into_iter().flatten())
    }
}

impl ViewCall {
    /// The parameters of the query with their values; one whose value is one field without a value is left out, unless
    /// that is a claim.
    ///
    /// # Errors
    ///
    /// As [`Text::plain`].
    pub fn parameters(&self, known: &Known<'_>) -> Result<Vec<(&str, String)>, FieldError> {
        let mut parameters = Vec::with_capacity(self.query.len());
        for (name, text) in &self.query {
            let mut value = String::new();
            match text.plain(known, &mut value) {
                Ok(()) => parameters.push((&**name, value)),
                Err(error) if may_go(text, &error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(parameters)
    }

    /// The texts with fields, in order: key, query.
    pub fn texts(&self) -> impl Iterator<Item = &Text> {
        self.key.iter().chain(self.query.iter().map(|(_, text)| text))
    }
}

/// Whether a parameter goes rather than the branch.
fn may_go(value: &Text, error: &FieldError) -> bool {
    let optional = value.lone().is_some_and(|field| !matches!(field.origin(), Origin::Claim(_)));
    optional && error.fault.is_absence()
}

fn fits(text: &Text, target: &str) -> Result<(), FieldError> {
    match text.fields().last() {
        Some(field) if target.len() > TARGET_BYTES_MAX => Err(field.error(FieldFault::TooLong)),
        _ => Ok(()),
    }
}
