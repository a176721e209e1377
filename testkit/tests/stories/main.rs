//! Whole-system stories over real sockets: origin, edge, client, assert. One module a subject; a story names the rule
//! or advisory that it guards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a story fails by panicking")]

/// Tells each story in both modes of a sidecar.
macro_rules! stories {
    ($($name:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test] async fn $name() { super::$name(sallyport_testkit::Mode::Embedded).await; })*
        }
        mod separate {
            $(#[tokio::test] async fn $name() { super::$name(sallyport_testkit::Mode::Separate).await; })*
        }
    };
}

mod admin;
mod advisories;
mod compose;
mod carrying;
mod cors;
mod expect;
mod framing;
mod h2_frames;
mod headers;
mod jwt;
mod limits;
mod listeners;
mod live;
mod outcomes;
mod pipelining;
mod reload;
mod resumption;
mod retries;
mod routing;
mod sidecar;
mod stopping;
mod timeouts;
mod tls;
mod tunnels;
mod upstream;
mod views;

use std::net::SocketAddr;

/// An upstream named `origin` and a public route to it for every path.
fn everything_to(origin: SocketAddr) -> String {
    format!(
        r#"
upstreams:
  origin: {{ targets: ["{origin}"] }}
routes:
  - match: "/{{**rest}}"
    public: true
    upstream: origin
"#
    )
}
