//! `cache` of a branch: how long answers are kept, and that no client gets what is another's.

use http::{HeaderName, Method, header};
use sallyport_config::aggregate::BranchCache;
use sallyport_config::{Located, Location, Report};

use super::{Cache, Call, Source, Vary};
use crate::compose::text::{Origin, claim};

/// What is known of the branch whose answers are to be kept.
pub(super) struct Kept<'a> {
    pub(super) settings: &'a Located<BranchCache>,
    /// Where `call` or `view` stands.
    pub(super) asked_at: Location,
    pub(super) source: &'a Source,
    /// The `headers` as written.
    pub(super) headers: &'a [Located<String>],
    /// Whether the route asks for an identity.
    pub(super) authenticated: bool,
}

/// Compiles `cache:`. Everything is refused by which one client's answer could become another's.
pub(super) fn compile(kept: &Kept<'_>, report: &mut Report) -> Option<Cache> {
    let settings = kept.settings;
    let Source::Call(call) = kept.source else {
        report
            .error(settings.at, "`cache` is for calls; a view is in memory anyway")
            .hint("leave `cache` out: how long clients may keep a view's answer says its `query.max_age`");
        return None;
    };
    let before = report.errors().count();
    if call.method != Method::GET {
        report
            .error(settings.at, format!("answers to {} cannot be kept", call.method))
            .hint("`cache` is for GET; leave it out");
    } else if call.body.is_some() {
        report
            .error(settings.at, "answers to a call with a body cannot be kept")
            .hint("an answer is kept under its URL; leave `body` or `cache` out");
    }
    if settings.ttl.is_zero() {
        report
            .error(settings.at, "a `ttl` of 0s keeps nothing")
            .hint("leave `cache` out, or write such as `ttl: 30s`");
    }
    let vary = vary(settings, call, report);
    if kept.authenticated {
        of_one_client(settings, report);
    }
    if settings.shared {
        for_everybody(kept, call, report);
    }
    if report.errors().count() > before {
        return None;
    }
    Some(Cache {
        ttl: *settings.ttl,
        stale_while_revalidate: *settings.stale_while_revalidate,
        stale_if_error: *settings.stale_if_error,
        vary: vary?,
        shared: settings.shared,
    })
}

/// On a route with an identity an answer belongs to somebody, unless the operator says that it does not.
fn of_one_client(settings: &Located<BranchCache>, report: &mut Report) {
    if settings.shared || settings.vary.iter().any(|word| word.starts_with("claims.")) {
        return;
    }
    report
        .error(settings.at, "what one client was answered would be given to another")
        .hint("the route asks for an identity, but nothing in this cache tells clients apart")
        .hint("write `vary: [claims.sub]`, or `shared: true` if the answer is the same for everybody");
}

/// What is kept for everybody may depend on nobody.
fn for_everybody(kept: &Kept<'_>, call: &Call, report: &mut Report) {
    let hint =
        "a `shared` answer is the same for everybody; with `vary: [claims.sub]` each client has its own";
    let fields = call.texts().flat_map(|text| text.fields());
    for field in fields.filter(|field| matches!(field.origin(), Origin::Claim(_))) {
        let message = format!("a `shared` cache, but the call depends on `{{{}}}`", field.written());
        report.error(kept.asked_at, message).hint(hint);
    }
    for word in kept.settings.vary.iter().filter(|word| word.starts_with("claims.")) {
        report.error(word.at, format!("a `shared` cache that varies by `{}`", word.value)).hint(hint);
    }
    for written in kept.headers {
        let name = HeaderName::from_bytes(written.as_bytes());
        if name.is_ok_and(|name| name == header::AUTHORIZATION || name == header::COOKIE) {
            let message = format!("a `shared` cache, but the call would carry `{}`", written.value);
            report.error(written.at, message).hint(hint);
        }
    }
}

fn vary(settings: &BranchCache, call: &Call, report: &mut Report) -> Option<Box<[Vary]>> {
    let words: Vec<Option<Vary>> = settings.vary.iter().map(|word| one(word, call, report)).collect();
    words.into_iter().collect()
}

fn one(word: &Located<String>, call: &Call, report: &mut Report) -> Option<Vary> {
    match word.split_once('.') {
        Some(("claims", path)) => claim(path, word.at, report).map(Vary::Claim),
        Some(("query", name)) if !name.is_empty() => Some(Vary::Query(name.into())),
        Some(("header", name)) => {
            let header = HeaderName::from_bytes(name.as_bytes()).ok();
            let header = header.filter(|header| call.headers.contains(header));
            if header.is_none() {
                report
                    .error(
                        word.at,
                        format!("the call does not carry the header `{name}`, so no answer varies by it"),
                    )
                    .hint(format!("add `{name}` to the branch's `headers`, or leave it out here"));
            }
            header.map(Vary::Header)
        }
        _ => {
            report
                .error(word.at, format!("`{}` is nothing that answers are told apart by", word.value))
                .hint("write `claims.sub`, `header.Accept-Language` or `query.page`");
            None
        }
    }
}
