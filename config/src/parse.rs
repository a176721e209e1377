//! Text becomes a tree. A small, strict part of YAML 1.2: one document, no tags, no merge keys, every key once, and
//! limits on size, depth and number of nodes that aliases cannot get round.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

use crate::located::{Located, Location};
use crate::node::{Kind, Node};
use crate::parse_hint;
use crate::report::Report;
use crate::secrets::Secrets;

/// The most bytes of one file.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most levels of lists and mappings in one another.
pub const LEVELS_MAX: u32 = 64;

/// The most nodes of one file, every alias counted with all that it stands for.
pub const NODES_MAX: u32 = 500_000;

/// Errors of one file after which the rest is not looked for.
const ERRORS_MAX: usize = 100;

/// Parses the text of source `file`. Every error goes to the report; with an error there is no tree. An empty
/// text is an empty scalar.
pub(crate) fn parse(file: u16, text: &str, secrets: &Arc<Secrets>, report: &mut Report) -> Option<Node> {
    let start = Location { file, line: 1, column: 1 };
    if text.len() > FILE_BYTES_MAX {
        report
            .error(start, format!("the file is larger than {} MiB", FILE_BYTES_MAX / (1024 * 1024)))
            .hint("split it: `include: [\"routes/*.yaml\"]`");
        return None;
    }
    let mut builder = Builder {
        file,
        text,
        secrets,
        report,
        open: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        documents: 0,
        nodes: 0,
        errors: 0,
        over: false,
    };
    builder.run();
    if builder.errors > 0 {
        return None;
    }
    let empty = || scalar(start, String::new(), true, secrets);
    Some(builder.root.take().unwrap_or_else(empty))
}

fn scalar(at: Location, text: String, plain: bool, secrets: &Arc<Secrets>) -> Node {
    Node::new(at, Kind::Scalar { text: text.into_boxed_str(), plain }, Some(secrets))
}

struct Builder<'a> {
    file: u16,
    text: &'a str,
    secrets: &'a Arc<Secrets>,
    report: &'a mut Report,
    /// The collections that are not complete, outermost first.
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    documents: u32,
    nodes: u32,
    errors: usize,
    /// A limit was passed: nothing further is read.
    over: bool,
}

/// A collection that is not complete.
struct Open {
    at: Location,
    anchor: usize,
    contents: Contents,
}

enum Contents {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<(Located<String>, Node)>, known: HashSet<String>, key: Option<Key> },
}

/// A key whose value has not been read yet; `Refused` was reported and its value goes with it.
enum Key {
    Read(Located<String>),
    Refused,
}

impl Builder<'_> {
    fn run(&mut self) {
        let options = granit_parser::options! {
            emit_comments: false,
            emit_unresolved_aliases: true,
            // One more level than we allow, so that our own error is the one that is seen.
            flow_nesting_limit: LEVELS_MAX as usize * 2,
            block_nesting_limit: LEVELS_MAX as usize * 2,
        };
        for next in Parser::new_from_str_with_options(self.text, options) {
            match next {
                Ok((event, span)) => self.event(event, &span),
                Err(error) => return self.scan_error(&error),
            }
            if self.over || self.errors >= ERRORS_MAX {
                return;
            }
        }
    }

    fn event(&mut self, event: Event<'_>, span: &Span) {
        let at = self.location(&span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                let plain = style == ScalarStyle::Plain;
                // The parser says `~` where nothing is written; to us that is not the same.
                let text = if plain && span.is_empty() { String::new() } else { text.into_owned() };
                let node = scalar(at, text, plain, self.secrets);
                self.finish(node, anchor);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                self.begin(at, anchor, Contents::Sequence(Vec::new()));
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                let contents = Contents::Mapping { entries: Vec::new(), known: HashSet::new(), key: None };
                self.begin(at, anchor, contents);
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(at, anchor),
            Event::UnresolvedAlias(name) => self.unknown_alias(at, span, &name),
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.error(at, "a second document begins here; a file holds one", &["remove the `---`"]);
                    self.over = true;
                }
            }
            _ => {}
        }
    }

    fn location(&self, marker: &Marker) -> Location {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Location { file: self.file, line: number(marker.line()), column: number(marker.col() + 1) }
    }

    fn error(&mut self, at: Location, message: impl Into<String>, hints: &[&str]) {
        let diagnostic = self.report.error(at, message);
        for hint in hints {
            diagnostic.hint(*hint);
        }
        self.errors += 1;
    }

    fn scan_error(&mut self, error: &ScanError) {
        let at = self.location(error.marker());
        let (message, hints) = parse_hint::explain(error, self.text, at);
        let hints: Vec<&str> = hints.iter().map(String::as_str).collect();
        self.error(at, message, &hints);
    }

    fn refuse_tag(&mut self, tagged: bool, span: &Span) {
        if tagged {
            let at = self.location(&span.tag_start().unwrap_or(span.start));
            self.error(at, "tags such as `!name` mean nothing here", &["quote a value that begins with `!`"]);
        }
    }

    fn unknown_alias(&mut self, at: Location, span: &Span, name: &str) {
        let rest = span.end.byte_offset().and_then(|from| self.text.get(from..)).unwrap_or_default();
        let word = format!("*{name}{}", parse_hint::rest_of_value(rest));
        let hint = format!("a value that begins with `*` must be quoted: \"{word}\"");
        self.error(at, format!("no `&{name}` comes before the alias `*{name}`"), &[&hint]);
        let node = scalar(at, String::new(), false, self.secrets);
        self.finish(node, 0);
    }

    fn alias(&mut self, at: Location, anchor: usize) {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            self.error(at, "an alias inside the value that it stands for", &[]);
            let node = scalar(at, String::new(), false, self.secrets);
            return self.finish(node, 0);
        };
        // The node itself is counted when it is finished.
        self.count(at, node.nodes() - 1);
        let levels = u32::try_from(self.open.len()).unwrap_or(u32::MAX).saturating_add(node.levels());
        if levels > LEVELS_MAX + 1 {
            self.too_deep(at);
        }
        if !self.over {
            self.finish(node, 0);
        }
    }

    fn count(&mut self, at: Location, nodes: u32) {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX && !self.over {
            self.over = true;
            let hint = "an alias counts with everything that it stands for";
            self.error(at, format!("more than {NODES_MAX} values in one file"), &[hint]);
        }
    }

    fn too_deep(&mut self, at: Location) {
        self.over = true;
        self.error(at, format!("more than {LEVELS_MAX} levels of lists and mappings"), &[]);
    }

    fn begin(&mut self, at: Location, anchor: usize, contents: Contents) {
        if self.open.len() >= LEVELS_MAX as usize {
            return self.too_deep(at);
        }
        self.open.push(Open { at, anchor, contents });
    }

    fn end(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let kind = match open.contents {
            Contents::Sequence(items) => Kind::Sequence(items),
            Contents::Mapping { entries, .. } => Kind::Mapping(entries),
        };
        self.finish(Node::new(open.at, kind, Some(self.secrets)), open.anchor);
    }

    /// Puts a complete node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize) {
        self.count(node.location(), 1);
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.contents) {
            None => self.root = Some(node),
            Some(Contents::Sequence(items)) => items.push(node),
            Some(Contents::Mapping { entries, key, .. }) => match key.take() {
                Some(Key::Read(name)) => entries.push((name, node)),
                Some(Key::Refused) => {}
                None => self.key(&node),
            },
        }
    }

    /// Reads a node as the next key of the innermost mapping.
    fn key(&mut self, node: &Node) {
        let at = node.location();
        let checked = self.check_key(node);
        let Some(Contents::Mapping { entries, known, key }) =
            self.open.last_mut().map(|open| &mut open.contents)
        else {
            return;
        };
        let Some(name) = checked else {
            *key = Some(Key::Refused);
            return;
        };
        if known.insert(name.clone()) {
            *key = Some(Key::Read(Located::new(name, at)));
            return;
        }
        *key = Some(Key::Refused);
        let first = entries.iter().find(|(known, _)| known.value == name).map(|(known, _)| known.at);
        let first = first.and_then(|first| self.report.place(first)).unwrap_or_default();
        self.error(at, format!("duplicate key `{name}`"), &[&format!("first at {first}")]);
    }

    fn check_key(&mut self, node: &Node) -> Option<String> {
        let at = node.location();
        match node.kind() {
            Kind::Scalar { text, plain: true } if &**text == "<<" => {
                let hint = "write the keys out, or share a whole value: `a: &name {...}`, `b: *name`";
                self.error(at, "merge keys (`<<`) are not part of YAML 1.2", &[hint]);
                None
            }
            Kind::Scalar { text, plain: true } if text.is_empty() => {
                self.error(at, "a key is missing before `:`", &[]);
                None
            }
            Kind::Scalar { text, .. } => Some(text.to_string()),
            _ => {
                let hint = "a value that begins with `{` or `[` must be quoted";
                self.error(at, "a key must be a name, not a list or a mapping", &[hint]);
                None
            }
        }
    }
}
