//! One branch of the file, compiled: what it asks, what it waits for, and what becomes of the outcome.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use sallyport_condition::singular;
use sallyport_config::aggregate::{self, Beyond};
use sallyport_config::{Located, Report};
use sallyport_upstreams::Retry;

use super::compile::Ground;
use super::when::When;
use super::{Body, Branch, Call, EACH_CONCURRENCY_MAX, EACH_ITEMS_MAX, Each, OnError, Source, ViewCall};
use super::{body, cache, call, headers, shaping, words};
use crate::compose::text::{Field, Origin, Scope, Text, result};
use crate::json::{Checked, DEPTH_CEILING, Limits};

/// A branch while it is compiled.
pub(super) struct Site<'a> {
    pub(super) ground: &'a Ground<'a>,
    /// Its place among the branches.
    pub(super) index: usize,
    pub(super) name: &'a Located<String>,
    pub(super) settings: &'a Located<aggregate::Branch>,
}

/// Compiles a branch. As many faults as can be told apart are told.
pub(super) fn compile(site: &Site<'_>, report: &mut Report) -> Option<Branch> {
    let before = report.errors().count();
    let settings = &site.settings.value;
    let scope = site.scope(settings.each.is_some());
    let source = site.source(&scope, report);
    let needs = site.needs(report);
    let when = match (&settings.when, &needs) {
        (Some(when), Some(needs)) => When::compile(when, &scope, needs, report).map(Some),
        (Some(_), None) => None,
        (None, _) => Some(None),
    };
    let each = settings.each.as_ref().map(|each| site.each(each, report));
    let shape = shaping::compile(settings, site.name.at, report);
    let on_error = site.on_error(report);
    let pass_statuses = site.pass_statuses(report);
    let cache = match (&settings.cache, &source) {
        (Some(settings), Some(source)) => {
            let asked_at = site.asked_at();
            let headers = &site.settings.headers;
            let authenticated = !site.ground.route.public;
            let kept = cache::Kept { settings, asked_at, source, headers, authenticated };
            cache::compile(&kept, report)
        }
        _ => None,
    };
    site.limits(report);
    if report.errors().count() > before {
        return None;
    }
    let (source, needs, each) = (source?, needs?, each.flatten());
    site.items(&source, report);
    let after = after(&source, &needs, each.as_ref());
    Some(Branch {
        name: Arc::from(site.name.as_str()),
        after,
        needs: needs.into(),
        when: when?,
        each,
        timeout: *settings.timeout,
        on_error: on_error?,
        pass_statuses: pass_statuses?,
        retry: settings.retry.as_ref().map(|retry| Retry::new(retry)),
        shape: shape?,
        cache,
        bytes_max: usize::try_from(settings.bytes.0).unwrap_or(usize::MAX),
        source,
    })
}

/// All branches that are waited for, in file order.
fn after(source: &Source, needs: &[usize], each: Option<&Each>) -> Box<[usize]> {
    let fields = source.fields().into_iter().filter_map(Field::branch);
    let mut after: Vec<usize> = fields.chain(needs.iter().copied()).chain(each.map(|each| each.of)).collect();
    after.sort_unstable();
    after.dedup();
    after.into()
}

impl<'a> Site<'a> {
    fn scope(&self, item: bool) -> Scope<'_> {
        let Ground { params, names, .. } = self.ground;
        Scope { params, branches: names, own: Some(self.index), item }
    }

    fn asked_at(&self) -> sallyport_config::Location {
        let call = self.settings.call.as_ref().map(|call| call.at);
        call.or(self.settings.view.as_ref().map(|view| view.at)).unwrap_or(self.name.at)
    }

    fn source(&self, scope: &Scope<'_>, report: &mut Report) -> Option<Source> {
        match (&self.settings.call, &self.settings.view) {
            (Some(call), None) => self.call(call, scope, report).map(Source::Call),
            (None, Some(view)) => self.view(view, scope, report).map(Source::View),
            (Some(_), Some(view)) => {
                let name = &self.name.value;
                report
                    .error(view.at, format!("the branch `{name}` has both `call` and `view`"))
                    .hint("a branch asks one of them; write two branches");
                None
            }
            (None, None) => {
                report
                    .error(self.name.at, format!("the branch `{}` asks nothing", self.name.value))
                    .hint("write `call: GET upstream/path` or `view: { name: ... }`");
                None
            }
        }
    }

    fn call(&self, written: &Located<String>, scope: &Scope<'_>, report: &mut Report) -> Option<Call> {
        let line = call::line(written, scope, report);
        let headers = headers::compile(&self.settings.headers, report);
        let body = match &self.settings.body {
            None => Some(None),
            Some(node) => body::compile(node, scope, report).map(Some),
        };
        let line = line?;
        let upstream = self.upstream(&line.upstream, report);
        self.method(&line.method, body.as_ref().and_then(Option::as_ref), report);
        let (path, query) = (line.path, line.query);
        let call =
            Call { method: line.method, upstream: upstream?, path, query, headers: headers?, body: body? };
        self.tail(&call, report);
        Some(call)
    }

    /// The upstream of this name. One that is there but broken was told where it stands.
    fn upstream(
        &self,
        name: &Located<String>,
        report: &mut Report,
    ) -> Option<Arc<sallyport_upstreams::Upstream>> {
        let settings = &self.ground.config.upstreams;
        if settings.find(name).is_none() {
            let error = report.error(name.at, format!("unknown upstream `{}`", name.value));
            words::known(error, name, "upstreams", &settings.names().collect::<Vec<_>>());
        }
        self.ground.upstreams.get(name.as_str()).cloned()
    }

    /// What a method and the other settings have to do with each other.
    fn method(&self, method: &Method, body: Option<&Body>, report: &mut Report) {
        if *method == Method::GET && body.is_some() {
            let at = self.settings.body.as_ref().map_or(self.name.at, |body| body.location());
            report.error(at, "a GET has no body").hint(
                "RFC 9110, section 9.3.1: a service may refuse it; put values into the query, or use POST",
            );
        }
        let methods = &self.ground.route.matches.methods;
        let safe = methods.iter().find(|method| *method != "POST");
        if let (Some(Body::Request), Some(method)) = (body, safe) {
            let at = self.settings.body.as_ref().map_or(self.name.at, |body| body.location());
            report
                .error(at, format!("the route takes {method}, whose requests have no body to pass on"))
                .hint("a route for POST alone may; or write the body as JSON with fields");
        }
        let changes = matches!(method.as_str(), "PUT" | "PATCH" | "DELETE");
        if let (true, Some(safe)) = (changes, safe) {
            report
                .warning(self.asked_at(), format!("a {safe} of this route would make a {method}"))
                .hint("whoever follows a link or fetches ahead expects that nothing changes (RFC 9110, section 9.2.1)");
        }
        let Some(retry) = &self.settings.retry else { return };
        let idempotent = matches!(method.as_str(), "GET" | "PUT" | "DELETE");
        for on in retry.on.iter().filter(|on| !idempotent && on.as_str() != "connect") {
            report
                .error(
                    on.at,
                    format!("a {method} is not tried again on `{}`: it may have been carried out", on.value),
                )
                .hint("RFC 9110, section 9.2.2: for such a method there is `on: [connect]`");
        }
    }

    /// A parameter of the route that takes several segments goes into one segment of a call.
    fn tail(&self, call: &Call, report: &mut Report) {
        let path = self.ground.route.matches.path.as_ref().map_or("", |path| path.as_str());
        let Some(tail) = path.rsplit('/').next().and_then(|last| last.strip_prefix("{**")) else { return };
        let tail = tail.trim_end_matches('}');
        if call.path.fields().any(|field| field.written() == tail) {
            report
                .warning(self.asked_at(), format!("`{{{tail}}}` may hold slashes, which go as `%2F`"))
                .hint("a value stays within its segment; name the segments in `match` to have each of them");
        }
    }

    fn view(&self, view: &aggregate::ViewCall, scope: &Scope<'_>, report: &mut Report) -> Option<ViewCall> {
        let known = &self.ground.config.views;
        let before = report.errors().count();
        if known.find(&view.name).is_none() {
            let error = report.error(view.name.at, format!("unknown view `{}`", view.name.value));
            words::known(error, &view.name, "views", &known.names().collect::<Vec<_>>());
        }
        let for_calls = [
            ("headers", self.settings.headers.first().map(|name| name.at)),
            ("body", self.settings.body.as_ref().map(|body| body.location())),
            ("retry", self.settings.retry.as_ref().map(|retry| retry.at)),
        ];
        for (key, at) in for_calls {
            if let Some(at) = at {
                report.error(at, format!("`{key}` is for calls; a view is not asked over the network"));
            }
        }
        let key = view.key.as_ref().map(|key| Text::compile(key, scope, report));
        let query: Vec<Option<(Box<str>, Text)>> = view
            .query
            .iter()
            .map(|(name, value)| Some((name.as_str().into(), Text::compile(value, scope, report)?)))
            .collect();
        if report.errors().count() > before {
            return None;
        }
        Some(ViewCall {
            view: view.name.as_str().into(),
            key: key.flatten(),
            query: query.into_iter().collect::<Option<_>>()?,
        })
    }

    /// With `each` something should depend on the item.
    fn items(&self, source: &Source, report: &mut Report) {
        let Some(each) = &self.settings.each else { return };
        if !source.fields().iter().any(|field| matches!(field.origin(), Origin::Item(_))) {
            report
                .warning(each.at, "every call of this `each` is the same")
                .hint("`{item}` is the item that a call is for, `{item.$.id}` a value in it");
        }
    }

    fn needs(&self, report: &mut Report) -> Option<Vec<usize>> {
        let scope = self.scope(false);
        let mut needs: Vec<usize> = Vec::with_capacity(self.settings.needs.len());
        let mut sound = true;
        for name in &self.settings.needs {
            match result(name, name.at, &scope, report) {
                Some(need) if needs.contains(&need) => {
                    report.error(name.at, format!("the branch `{}` stands here twice", name.value));
                    sound = false;
                }
                Some(need) => needs.push(need),
                None => sound = false,
            }
        }
        needs.sort_unstable();
        sound.then_some(needs)
    }

    fn each(&self, each: &aggregate::Each, report: &mut Report) -> Option<Each> {
        let between = |number: &Located<usize>, max: usize, what: &str, report: &mut Report| {
            if !(1..=max).contains(&number.value) {
                report.error(number.at, format!("`{what}` is 1 to {max}, found {}", number.value));
            }
        };
        between(&each.max, EACH_ITEMS_MAX, "max", report);
        between(&each.concurrency, EACH_CONCURRENCY_MAX, "concurrency", report);
        let Some((name, _)) = each.list.split_once(".$") else {
            let scope = self.scope(false);
            let head = each.list.split('.').next().unwrap_or_default();
            let error =
                report.error(each.list.at, format!("`{}` is no list of a branch's result", each.list.value));
            let rest = each.list.strip_prefix(head).unwrap_or_default();
            error.hint(if scope.branches.contains(&head) {
                format!("the way into the result begins with `$`: `{head}.${rest}`")
            } else {
                "write a branch and the way to a list in its result: `batches.$.items`".to_owned()
            });
            return None;
        };
        let of = result(name, each.list.at, &self.scope(false), report);
        let query = each.list.get(name.len() + 1..).unwrap_or_default().to_owned();
        let path = singular(&Located::new(query, each.list.at), report);
        let (max, concurrency) = (each.max.value, each.concurrency.value);
        Some(Each { of: of?, path: path?, max, concurrency, cut: each.beyond == Beyond::Cut })
    }

    fn on_error(&self, report: &mut Report) -> Option<OnError> {
        Some(match &self.settings.on_error {
            aggregate::OnError::Fail => OnError::Fail,
            aggregate::OnError::Null => OnError::Null,
            aggregate::OnError::Omit => OnError::Omit,
            aggregate::OnError::Stale => {
                if self.settings.cache.is_none() {
                    report
                        .error(
                            self.name.at,
                            format!("`on_error: stale` in `{}`, which has no `cache`", self.name.value),
                        )
                        .hint("write a `cache` with `stale_if_error`, or `on_error: null`");
                    return None;
                }
                OnError::Stale
            }
            aggregate::OnError::Value(node) => OnError::Value(literal(node, report)?),
        })
    }

    fn pass_statuses(&self, report: &mut Report) -> Option<Box<[u16]>> {
        let mut statuses: Vec<u16> = Vec::with_capacity(self.settings.pass_statuses.len());
        let before = report.errors().count();
        for status in &self.settings.pass_statuses {
            if !(400..=599).contains(&status.value) {
                report
                    .error(
                        status.at,
                        format!("a status that is passed on is 400 to 599, found {}", status.value),
                    )
                    .hint("any other makes no failure, or none that a client could be told");
            } else if statuses.contains(&status.value) {
                report.error(status.at, format!("the status {} stands here twice", status.value));
            }
            statuses.push(status.value);
        }
        let first = self.settings.pass_statuses.first().filter(|_| !self.settings.on_error.is_fail());
        if let Some(first) = first {
            report
                .error(first.at, "`pass_statuses` where a failure does not fail the request")
                .hint("leave out `on_error`, which makes the branch required, or `pass_statuses`");
        }
        statuses.sort_unstable();
        (report.errors().count() == before).then(|| statuses.into())
    }

    /// Time and bytes, by themselves and beside those of the answer.
    fn limits(&self, report: &mut Report) {
        /// What the settings have where the file says nothing: then a smaller limit of the answer is no contradiction.
        const DEFAULTS: (std::time::Duration, u64) = (std::time::Duration::from_secs(2), 1024 * 1024);
        let (name, at) = (&self.name.value, self.name.at);
        let (timeout, bytes) = (*self.settings.timeout, self.settings.bytes.0);
        let answer = &self.ground.answer;
        if timeout.is_zero() {
            report.error(at, format!("`timeout: 0s` in `{name}` leaves no time at all"));
        } else if timeout > *answer.timeout && timeout != DEFAULTS.0 {
            report
                .warning(
                    at,
                    format!("the branch `{name}` has more time than the whole answer, {}", answer.timeout),
                )
                .hint("it ends with the answer's `timeout`; raise that, or lower the branch's");
        }
        if bytes == 0 {
            report.error(at, format!("`bytes: 0` in `{name}` leaves no room for a result"));
        } else if bytes > answer.bytes.0 && bytes != DEFAULTS.1 {
            report
                .warning(
                    at,
                    format!(
                        "the branch `{name}` may have more bytes than the whole answer, {}",
                        answer.bytes
                    ),
                )
                .hint("raise `answer.bytes`, or lower the branch's `bytes`");
        }
    }
}

/// A value of the file as JSON.
pub(super) fn literal(node: &sallyport_config::Node, report: &mut Report) -> Option<Checked> {
    let limits = Limits { depth_max: DEPTH_CEILING, bytes_max: usize::MAX };
    let written = serde_json::to_vec(node).unwrap_or_default();
    match Checked::new(Bytes::from(written), &limits) {
        Ok(checked) => Some(checked),
        Err(error) => {
            report.error(node.location(), format!("this cannot be written as JSON: {error}"));
            None
        }
    }
}
