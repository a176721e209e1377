//! From the settings of all routes to compositions.

use std::collections::BTreeMap;
use std::sync::Arc;

use sallyport_config::aggregate::{self, Answer};
use sallyport_config::route::Route;
use sallyport_config::{Config, Located, Report};
use sallyport_upstreams::Upstream;

use super::branch::Site;
use super::{Branch, Composition, Compositions, branch, graph, merging, route};

/// What the branches of a route may refer to.
pub(super) struct Ground<'a> {
    pub(super) config: &'a Config,
    pub(super) upstreams: &'a BTreeMap<String, Arc<Upstream>>,
    pub(super) route: &'a Located<Route>,
    /// As written, or the defaults, nowhere.
    pub(super) answer: Located<Answer>,
    /// The route's path parameters.
    pub(super) params: Vec<&'a str>,
    /// The branches' names, in file order.
    pub(super) names: Vec<&'a str>,
}

pub(super) fn all(
    config: &Config,
    upstreams: &BTreeMap<String, Arc<Upstream>>,
    report: &mut Report,
) -> Option<Compositions> {
    let before = report.errors().count();
    let mut compositions = Compositions::default();
    for route in &config.routes {
        let Some(branches) = &route.aggregate else {
            route::without_aggregate(route, report);
            continue;
        };
        let ground = Ground {
            config,
            upstreams,
            route,
            answer: route.answer.clone().unwrap_or_default(),
            params: route.matches.parameters().collect(),
            names: branches.names().collect(),
        };
        let Some(composition) = composition(&ground, branches.iter(), report).map(Arc::new) else { continue };
        if compositions.by_route.insert(composition.name.clone(), composition.clone()).is_some() {
            report
                .error(
                    route.matches.at,
                    format!("another composed route has the name `{}`", composition.name),
                )
                .hint("a name tells a route apart, and the default is its match line; write another `name`");
        }
        compositions.all.push(composition);
    }
    // A broken upstream, told where it stands, leaves out compositions without an error of theirs.
    let complete =
        compositions.all.len() == config.routes.iter().filter(|route| route.aggregate.is_some()).count();
    (complete && report.errors().count() == before).then_some(compositions)
}

fn composition<'a>(
    ground: &Ground<'a>,
    written: impl Iterator<Item = (&'a Located<String>, &'a Located<aggregate::Branch>)>,
    report: &mut Report,
) -> Option<Composition> {
    let before = report.errors().count();
    route::check(ground.route, &ground.answer, ground.config, report);
    let merge = merging::compile(ground, report);
    let built = written.enumerate().map(|(index, (name, settings))| {
        let site = Site { ground, index, name, settings };
        Some((name, settings, branch::compile(&site, report)?))
    });
    let built: Vec<_> = built.collect();
    let built: Vec<(_, _, Branch)> = built.into_iter().collect::<Option<_>>()?;
    let merge = merge?;
    let names: Vec<&Located<String>> = built.iter().map(|(name, _, _)| *name).collect();
    let after = built.iter().map(|(_, _, branch)| branch.after.to_vec()).collect();
    graph::check(&names, &after, report);
    merging::check(&built, &merge, &ground.answer, report);
    if report.errors().count() > before {
        return None;
    }
    Some(Composition {
        name: ground.route.name().into(),
        branches: built.into_iter().map(|(_, _, branch)| branch).collect(),
        merge,
        timeout: *ground.answer.timeout,
        bytes_max: usize::try_from(ground.answer.bytes.0).unwrap_or(usize::MAX),
        authenticated: !ground.route.public,
    })
}
