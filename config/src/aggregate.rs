//! `aggregate:` and `answer:` of a route: which services are asked, and what one answer becomes of theirs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::located::{Located, Named};
use crate::node::Node;
use crate::route::Retry;
use crate::units::{ByteSize, Timespan};

/// One branch of a composed answer: a call to an upstream, or a query of a view. Branches start together, except that one
/// which needs another's result waits for it. Texts with fields may hold `{id}` (a path parameter of the route),
/// `{query.name}`, `{claims.sub}`, `{item}` and `{item.$.path}` (with `each`), and `{branch.$.path}`: a value of another
/// branch's result (RFC 9535, a singular query), which makes this branch need that one. `{{` and `}}` are the braces themselves.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// What is asked: `METHOD upstream/path?query`, `GET users/v1/users/{claims.sub}`. The path and the query are texts
    /// with fields; a value is percent-encoded where it is put. Texts, numbers and booleans can be put there. A value that is
    /// missing fails the branch, except that a query parameter whose value is one field, and no claim, is left out then.
    #[serde(default)]
    pub call: Option<Located<String>>,
    /// Instead of `call`: rows of a view, as its query route would give them to this client.
    #[serde(default)]
    pub view: Option<Located<ViewCall>>,
    /// Headers of the client's request that the call carries, by name. Those that the route's filters set for the identity,
    /// `X-Request-Id`, `traceparent` and `X-Forwarded-*` go along always. Default: none.
    #[serde(default)]
    pub headers: Vec<Located<String>>,
    /// The call's body, as JSON: any value; a string that is one field and nothing else stands for the value itself,
    /// other strings may hold fields. A value that is missing fails the branch. The word `request` is the body of the
    /// client's request, as it is.
    /// Default: none.
    #[serde(default)]
    pub body: Option<Node>,
    /// Time for the branch, retries included; with `each` for every one of its calls. Beyond: failed. Default: 2s.
    #[serde(default = "two_seconds")]
    pub timeout: Timespan,
    /// What becomes of the answer if the branch fails. Default: the whole request fails; the branch is required.
    #[serde(default, skip_serializing_if = "OnError::is_fail")]
    pub on_error: OnError,
    /// Statuses that are passed on when a required branch gets them, 400 to 599: with `[404]` the client gets 404 where
    /// the branch got 404, with the title and the detail of its problem document if it has one. Default: none; it is 502.
    #[serde(default)]
    pub pass_statuses: Vec<Located<u16>>,
    /// Whether and when the call is tried again on another target. Default: never.
    #[serde(default)]
    pub retry: Option<Located<Retry>>,
    /// Only where this condition (CEL) holds. It may use `params`, `query`, `claims`, and the results of branches in `needs`
    /// by their names: `profile.role == "teacher"`. Elsewhere nothing is asked and the slot is left out. An error in it
    /// fails the branch.
    #[serde(default)]
    pub when: Option<Located<String>>,
    /// Branches that must have ended well before this one starts, beside those whose results it uses. If one of them was
    /// left out, so is this one; if one failed, this one has failed.
    #[serde(default)]
    pub needs: Vec<Located<String>>,
    /// One call for each item of a list; the results are a list in the same order.
    #[serde(default)]
    pub each: Option<Located<Each>>,
    /// What replaces the result: the value at this path (RFC 9535, a singular query), `$.data.items`. Before `pick`, `drop`
    /// and `rename`. Default: all of it. A result without such a value fails the branch.
    #[serde(default)]
    pub flatten: Option<Located<String>>,
    /// The members that stay, by dotted path: `[id, owner.name]`. Of a list, of each of its items. Default: all.
    #[serde(default)]
    pub pick: Vec<Located<String>>,
    /// The members that go, by dotted path. Default: none.
    #[serde(default)]
    pub drop: Vec<Located<String>>,
    /// New names of members, by dotted path: `{ user_id: id }`. After `pick` and `drop`.
    #[serde(default)]
    pub rename: Named<Located<String>>,
    /// Whether answers are kept for other requests. Only of GET. Default: no; calls under way at the same moment that are
    /// equal in everything are one call all the same.
    #[serde(default)]
    pub cache: Option<Located<BranchCache>>,
    /// Bytes of the branch's body. Above: failed. Default: 1MiB.
    #[serde(default = "one_mib")]
    pub bytes: ByteSize,
}

/// A query of a view, as a branch.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ViewCall {
    /// The view's name.
    pub name: Located<String>,
    /// One row: its key, a text with fields. Default: a page of rows.
    #[serde(default)]
    pub key: Option<Located<String>>,
    /// Parameters as the query route takes them: `{ status: open, limit: "5" }`; texts with fields.
    #[serde(default)]
    pub query: Named<Located<String>>,
}

/// What becomes of the answer if a branch fails.
#[derive(Debug, Clone, Default)]
pub enum OnError {
    /// The request fails: 504 if it took too long, else 502.
    #[default]
    Fail,
    /// The slot is `null`.
    Null,
    /// The slot is left out.
    Omit,
    /// The slot gets the last good result that the branch's `cache` still has, or `null` if it has none.
    Stale,
    /// The slot gets this value.
    Value(Node),
}

/// One call for each item of a list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Each {
    /// The list: `batches.$.items`, a branch and a singular query (RFC 9535) into its result.
    #[serde(rename = "in")]
    pub list: Located<String>,
    /// The most items, 1 to 1000. It has to be given. What happens to longer lists says `beyond`.
    #[schemars(range(min = 1, max = 1000))]
    pub max: Located<usize>,
    /// Calls at a time, 1 to 64. Default: 8.
    #[serde(default = "eight")]
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: Located<usize>,
    /// A list with more than `max` items: `fail` the branch, or `cut` it. Default: fail.
    #[serde(default)]
    pub beyond: Beyond,
}

/// What happens to a list that is too long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Beyond {
    /// The branch fails.
    #[default]
    Fail,
    /// Only the first items are taken, and the answer counts as incomplete.
    Cut,
}

/// How long answers are kept. The key is the call's URL, the headers of the client's request that it carries (`headers`), and
/// what `vary` names.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BranchCache {
    /// How long an answer is fresh. A shorter `max-age` of the answer, `no-store` and `private` on a `shared` cache are
    /// obeyed (RFC 9111).
    pub ttl: Timespan,
    /// How long after that it is still given while a new one is fetched (RFC 5861). Default: 0s.
    #[serde(default)]
    pub stale_while_revalidate: Timespan,
    /// How long after that it is given if the call fails (RFC 5861). Default: 0s.
    #[serde(default)]
    pub stale_if_error: Timespan,
    /// What else tells answers apart: `claims.sub`, `claims.org.id`, `query.page`, or `header.Accept-Language`, which has to be
    /// among `headers`. Where the route asks for an identity there has to be a claim among them, or `shared`.
    #[serde(default)]
    pub vary: Vec<Located<String>>,
    /// Whether the answer is the same for everybody. The call then carries no identity, and neither `Authorization` nor
    /// `Cookie`. Default: false.
    #[serde(default)]
    pub shared: bool,
}

/// What one answer becomes of the branches' results.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Answer {
    /// `slots`: an object with a member for each branch, in the order of the file. `root`: the members of all results in one
    /// object; a name that two of them have is an error. `list`: the items of all results in one list; what is no list
    /// is one item. Default: slots.
    pub merge: Merge,
    /// Instead of `merge`: any value, in which a string `{branch}` stands for the branch's result and `{branch.$.path}` for a
    /// value in it. What was left out is left out here, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Node>,
    /// Time for the whole answer. Branches get what is left of it. Beyond: 504. Default: 10s.
    pub timeout: Timespan,
    /// Bytes of all results together. Above: 502. Default: 8MiB.
    pub bytes: ByteSize,
}

/// How results become one document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Merge {
    /// A member for each branch.
    #[default]
    Slots,
    /// The members of all results in one object.
    Root,
    /// The items of all results in one list.
    List,
}

impl Default for Answer {
    fn default() -> Self {
        Answer {
            merge: Merge::Slots,
            template: None,
            timeout: Timespan::from_secs(10),
            bytes: ByteSize(8 * 1024 * 1024),
        }
    }
}

fn two_seconds() -> Timespan {
    Timespan::from_secs(2)
}

fn one_mib() -> ByteSize {
    ByteSize(1024 * 1024)
}

fn eight() -> Located<usize> {
    Located::nowhere(8)
}
