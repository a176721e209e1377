//! The compiled form of `aggregate:` and `answer:`: branches, what each waits for, and what is made of their results.
//!
//! Everything that can be known at load is decided here: names are indices, paths are parsed, and what could not work, or
//! would show one client what is another's, is refused with its place in the file. A plan never changes and holds no state
//! of its own; upstreams do, and they outlive it.

mod compile;
mod branch;
mod call;
mod body;
mod shaping;
mod cache;
mod headers;
mod graph;
mod merging;
mod route;
mod when;
mod words;
mod written;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};
use sallyport_condition::FieldPath;
use sallyport_config::{Config, Report};
use sallyport_upstreams::{Retry, Upstream};

pub use body::BodyTemplate;
pub use call::TARGET_BYTES_MAX;
pub use when::{When, WhenError};

pub(crate) use graph::levels_of as levels;

use super::text::{Field, Text};
use crate::json::{Checked, Merge, Shape};

/// The most branches of a route. Each may hold its bytes at the same time, and an answer of more parts is better asked for
/// in parts.
pub const BRANCHES_MAX: usize = 32;

/// The most branches that wait for each other in a row: each adds its whole time to the client's.
pub const DEPTH_MAX: usize = 8;

/// The most items of `each`.
pub const EACH_ITEMS_MAX: usize = 1000;

/// The most calls of one `each` at a time.
pub const EACH_CONCURRENCY_MAX: usize = 64;

/// Every composed route of a configuration.
#[derive(Debug, Default)]
pub struct Compositions {
    by_route: HashMap<Arc<str>, Arc<Composition>>,
    /// In the order of the file.
    all: Vec<Arc<Composition>>,
}

/// A composed answer: the branches of a route, and what their results become.
#[derive(Debug)]
pub struct Composition {
    /// The route's name.
    pub name: Arc<str>,
    /// In the order of the file, which is that of the answer.
    pub branches: Box<[Branch]>,
    /// How results become one value.
    pub merge: Merge,
    /// Time for the whole answer. Branches get what is left of it.
    pub timeout: Duration,
    /// Bytes of all results together.
    pub bytes_max: usize,
    /// Whether the route asks for an identity (it is not `public`). Nothing may then be kept or shared between clients but
    /// what [`Cache`] says.
    pub authenticated: bool,
}

/// One branch: what is asked, when, and what becomes of what comes back.
#[derive(Debug)]
pub struct Branch {
    /// Its name, which is that of its slot. A token (RFC 9110, section 5.6.2) of at most 64 letters, digits, `_`, `-`, which
    /// does not begin with a digit or `-`.
    pub name: Arc<str>,
    /// What is asked.
    pub source: Source,
    /// The branches it waits for, by index, in file order: those it `needs`, and those whose results its texts, its `each`
    /// or its `when` use. There is no cycle in them, and they make at most [`DEPTH_MAX`] levels.
    pub after: Box<[usize]>,
    /// Those of `after` that are in `needs`: they must have ended well.
    pub needs: Box<[usize]>,
    /// It runs only where this holds; elsewhere the slot is left out.
    pub when: Option<When>,
    /// It runs once for each item of a list.
    pub each: Option<Each>,
    /// Time for it, retries included; with `each` for every one of its calls.
    pub timeout: Duration,
    /// What becomes of the answer if it fails.
    pub on_error: OnError,
    /// Statuses from 400 to 599 that the client gets where this branch got them; in order. Only of required branches.
    pub pass_statuses: Box<[u16]>,
    /// Whether and when a call is tried again. Never of a view.
    pub retry: Option<Retry>,
    /// What is made of the result before anybody uses it; of each item's result with `each`. `None`: it stays as it is.
    pub shape: Option<Shape>,
    /// Whether answers are kept. Only of GET calls without a body.
    pub cache: Option<Cache>,
    /// Bytes of a body; with `each` of every single one.
    pub bytes_max: usize,
}

/// What a branch asks.
#[derive(Debug)]
pub enum Source {
    /// A call to an upstream.
    Call(Call),
    /// A query of a view.
    View(ViewCall),
}

/// A call to an upstream.
#[derive(Debug)]
pub struct Call {
    /// GET, POST, PUT, PATCH or DELETE.
    pub method: Method,
    /// Where to.
    pub upstream: Arc<Upstream>,
    /// The path, from its `/`; see [`Call::target`].
    pub path: Text,
    /// The query's parameters in order; see [`Call::target`].
    pub query: Box<[Parameter]>,
    /// Headers of the client's request that go along, beside those that always do.
    pub headers: Box<[HeaderName]>,
    /// The body.
    pub body: Option<Body>,
}

/// A parameter of a call's query.
#[derive(Debug)]
pub struct Parameter {
    /// The name and its `=` as they go into the query; without `=` where `value` is `None`.
    pub written: Box<str>,
    /// Its value.
    pub value: Option<Text>,
}

/// The body of a call.
#[derive(Debug)]
pub enum Body {
    /// That of the client's request, as it is, with its content type.
    Request,
    /// JSON with fields; `application/json`.
    Template(BodyTemplate),
}

/// A query of a view.
#[derive(Debug)]
pub struct ViewCall {
    /// The view's name; the configuration has it.
    pub view: Arc<str>,
    /// One row instead of a page: its key, to be filled in by [`Text::plain`].
    pub key: Option<Text>,
    /// Parameters as the query route takes them, undecoded names, values by [`Text::plain`]. As in a call's query a parameter
    /// whose value is one field without a value is left out: see [`ViewCall::parameters`].
    pub query: Box<[(Box<str>, Text)]>,
}

/// One call for each item of a list.
#[derive(Debug)]
pub struct Each {
    /// The branch whose result has the list.
    pub of: usize,
    /// The way to the list.
    pub path: FieldPath,
    /// The most items, 1 to [`EACH_ITEMS_MAX`].
    pub max: usize,
    /// Calls at a time, 1 to [`EACH_CONCURRENCY_MAX`].
    pub concurrency: usize,
    /// Whether a longer list is cut, and the answer counts as incomplete; else the branch fails.
    pub cut: bool,
}

/// What becomes of the answer if a branch fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnError {
    /// The request fails.
    Fail,
    /// The slot is `null`.
    Null,
    /// The slot is left out.
    Omit,
    /// The slot gets the last good result that the cache still has, else `null`. The branch has a `cache`.
    Stale,
    /// The slot gets this.
    Value(Checked),
}

/// How long answers are kept, and for whom.
#[derive(Debug, Clone)]
pub struct Cache {
    /// How long an answer is fresh; more than nothing.
    pub ttl: Duration,
    /// How long after that it is given while a new one is fetched.
    pub stale_while_revalidate: Duration,
    /// How long after that it is given if the call fails.
    pub stale_if_error: Duration,
    /// What tells answers apart, beside the URL and the headers of [`Call::headers`], which are always part of the key. With
    /// `shared` no claim is among them. Two clients who both lack a claim are not the same client: for who lacks one of these
    /// claims nothing may be kept, and nothing kept be given.
    pub vary: Box<[Vary]>,
    /// Whether the answer is the same for everybody: the call carries no identity, and neither `Authorization` nor `Cookie`.
    pub shared: bool,
}

/// What tells answers of one URL apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vary {
    /// A claim of the client's identity.
    Claim(FieldPath),
    /// A header of the client's request, which is among those that the call carries.
    Header(HeaderName),
    /// A parameter of the client's query; of several of the name the first.
    Query(Box<str>),
}

impl Compositions {
    /// Compiles every route with `aggregate:`. Faults are told at their places; `None` if there is an error.
    pub fn compile(
        config: &Config,
        upstreams: &BTreeMap<String, Arc<Upstream>>,
        report: &mut Report,
    ) -> Option<Compositions> {
        compile::all(config, upstreams, report)
    }

    /// The composition of the route of this name.
    pub fn find(&self, route: &str) -> Option<&Arc<Composition>> {
        self.by_route.get(route)
    }

    /// All, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Composition>> {
        self.all.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl Composition {
    /// The branch of this name.
    pub fn branch(&self, name: &str) -> Option<&Branch> {
        self.branches.iter().find(|branch| *branch.name == *name)
    }

    /// Whether a call carries the body of the client's request.
    pub fn wants_body(&self) -> bool {
        self.branches
            .iter()
            .any(|branch| matches!(&branch.source, Source::Call(Call { body: Some(Body::Request), .. })))
    }
}

impl Source {
    /// The fields of all its texts, in order.
    pub fn fields(&self) -> Vec<&Field> {
        match self {
            Source::Call(call) => call.texts().flat_map(Text::fields).collect(),
            Source::View(view) => view.texts().flat_map(Text::fields).collect(),
        }
    }
}

impl Branch {
    /// Whether the request fails if it does.
    pub fn is_required(&self) -> bool {
        self.on_error == OnError::Fail
    }
}

#[cfg(test)]
mod tests;
