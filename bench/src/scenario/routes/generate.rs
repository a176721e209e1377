//! Routes by the thousand, to each rival in its own words. All lead to one backend.

use std::fmt::Write;

use crate::contest::{ENVOY, Rival, SALLYPORT, TRAEFIK};

/// Lines of a file of targets, and so requests before they repeat; as many for few routes as for many.
const TARGETS: usize = 10_000;
/// Coprime to any number of routes here: neighbouring requests are for routes far apart.
const STRIDE: usize = 7919;

/// What tells routes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The beginning of the path: `/service-00042/`.
    Path,
    /// The host: `service-00042.test`.
    Host,
}

/// A rival and how it is told of many routes.
#[derive(Debug)]
pub(super) struct Idiom {
    /// As in the figures.
    pub(super) contestant: &'static str,
    pub(super) rival: &'static Rival,
    pub(super) by: By,
    /// What stands before the routes, between, and behind.
    head: &'static str,
    route: fn(&mut String, usize),
    tail: &'static str,
}

const SALLYPORT_HEAD: &str = "routes:\n";
const ENVOY_HEAD: &str = "resources:
- \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
  name: routes
  virtual_hosts:
";
const ENVOY_ALL: &str = "resources:
- \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
  name: routes
  virtual_hosts:
  - name: all
    domains: [\"*\"]
    routes:
";
const ENVOY_TREE: &str = "resources:
- \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
  name: routes
  virtual_hosts:
  - name: all
    domains: [\"*\"]
    matcher:
      matcher_tree:
        input:
          name: path
          typed_config:
            \"@type\": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput
            header_name: :path
        prefix_match_map:
          map:
";
const TRAEFIK_HEAD: &str = "http:\n  routers:\n";
const TRAEFIK_TAIL: &str = "  services:
    backend:
      loadBalancer:
        serversTransport: kept
        servers: [{ url: \"http://127.0.0.1:@BACKEND@\" }]
  serversTransports:
    kept: { maxIdleConnsPerHost: 256 }   # As many as there are clients.
";

/// All of them. Envoy's prefixes are what most people write, a list that is gone through; the matcher tree is what it has
/// for many.
pub(super) static IDIOMS: [Idiom; 7] = [
    Idiom {
        contestant: "Sallyport",
        rival: &SALLYPORT,
        by: By::Path,
        head: SALLYPORT_HEAD,
        route: |out, n| {
            put(
                out,
                format_args!(
                    "- {{ match: \"/service-{n:05}/{{**rest}}\", public: true, upstream: backend }}"
                ),
            );
        },
        tail: "",
    },
    Idiom {
        contestant: "Envoy",
        rival: &ENVOY,
        by: By::Path,
        head: ENVOY_ALL,
        route: |out, n| {
            put(
                out,
                format_args!("    - {{match: {{prefix: /service-{n:05}/}}, route: {{cluster: backend}}}}"),
            );
        },
        tail: "",
    },
    Idiom {
        contestant: "Envoy, matcher tree",
        rival: &ENVOY,
        by: By::Path,
        head: ENVOY_TREE,
        route: |out, n| {
            let action = "type.googleapis.com/envoy.config.route.v3.Route";
            put(
                out,
                format_args!(
                    "            /service-{n:05}/: {{action: {{name: route, typed_config: {{\"@type\": {action}, match: {{prefix: /}}, route: {{cluster: backend}}}}}}}}"
                ),
            );
        },
        tail: "",
    },
    Idiom {
        contestant: "Traefik",
        rival: &TRAEFIK,
        by: By::Path,
        head: TRAEFIK_HEAD,
        route: |out, n| {
            put(
                out,
                format_args!("    r{n:05}: {{ rule: \"PathPrefix(`/service-{n:05}/`)\", service: backend }}"),
            );
        },
        tail: TRAEFIK_TAIL,
    },
    Idiom {
        contestant: "Sallyport",
        rival: &SALLYPORT,
        by: By::Host,
        head: SALLYPORT_HEAD,
        route: |out, n| {
            put(
                out,
                format_args!(
                    "- {{ match: \"service-{n:05}.test/{{**rest}}\", public: true, upstream: backend }}"
                ),
            );
        },
        tail: "",
    },
    Idiom {
        contestant: "Envoy",
        rival: &ENVOY,
        by: By::Host,
        head: ENVOY_HEAD,
        route: |out, n| {
            put(
                out,
                format_args!(
                    "  - {{name: h{n:05}, domains: [service-{n:05}.test], routes: [{{match: {{prefix: /}}, route: {{cluster: backend}}}}]}}"
                ),
            );
        },
        tail: "",
    },
    Idiom {
        contestant: "Traefik",
        rival: &TRAEFIK,
        by: By::Host,
        head: TRAEFIK_HEAD,
        route: |out, n| {
            put(
                out,
                format_args!("    r{n:05}: {{ rule: \"Host(`service-{n:05}.test`)\", service: backend }}"),
            );
        },
        tail: TRAEFIK_TAIL,
    },
];

fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    // A string takes whatever is written.
    let _ = writeln!(out, "{line}");
}

impl Idiom {
    /// The file of so many routes.
    pub(super) fn file(&self, count: usize, backend: u16) -> String {
        let mut out = self.head.to_owned();
        for number in 0..count {
            (self.route)(&mut out, number);
        }
        out.push_str(&self.tail.replace("@BACKEND@", &backend.to_string()));
        out
    }

    /// The host and the path that lead to a route.
    pub(super) fn target(&self, route: usize, item: usize) -> (String, String) {
        match self.by {
            By::Path => ("edge.test".to_owned(), format!("/service-{route:05}/items/{item}")),
            By::Host => (format!("service-{route:05}.test"), format!("/service-/items/{item}")),
        }
    }

    /// Requests for all of so many routes in turn, but not in order.
    pub(super) fn targets(&self, count: usize) -> String {
        let mut out = String::new();
        for item in 0..TARGETS {
            let (host, path) = self.target(item * STRIDE % count, item);
            put(&mut out, format_args!("{host} {path}"));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_route_is_asked_for_as_often() {
        let paths = &IDIOMS[0];
        let targets = paths.targets(1000);
        let hits = |route: &str| targets.lines().filter(|line| line.contains(route)).count();
        assert_eq!((hits("/service-00000/"), hits("/service-00999/"), hits("/service-01000/")), (10, 10, 0));
        assert_eq!(targets.lines().collect::<HashSet<_>>().len(), TARGETS, "no request twice");
    }

    #[test]
    fn a_file_has_a_line_for_each_route() {
        for idiom in &IDIOMS {
            let file = idiom.file(30, 9000);
            assert_eq!(file.matches("service-000").count(), 30, "{}", idiom.contestant);
            assert!(file.contains("service-00029") && !file.contains('@') || file.contains("\"@type\""));
        }
    }
}
