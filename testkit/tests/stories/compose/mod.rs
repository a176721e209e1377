//! Composed answers. Every story is told twice: with the aggregator inside the edge, and with one of its own behind it.

mod answers;
mod cache;
mod cancellation;
mod failure;
mod fields;
mod identity;
mod limits;
mod merge;
mod order;
mod chain;
mod reload;
mod single_flight;
mod upstreams;

use sallyport_testkit::{ComposedEdge, Mode, Origin, Response};

/// An upstream `up` that is this origin, and these routes.
fn routes(origin: &Origin, routes: &str) -> String {
    format!("upstreams:\n  up: {{ targets: [\"{}\"] }}\nroutes:\n{routes}", origin.address())
}

/// Starts an edge with [`routes`].
async fn start(mode: Mode, origin: &Origin, of_routes: &str) -> ComposedEdge {
    ComposedEdge::start(mode, "", &routes(origin, of_routes)).await
}

/// A GET with this token and these headers, on a connection of its own.
async fn get_with(edge: &ComposedEdge, token: &str, target: &str, headers: &[(&str, &str)]) -> Response {
    let mut client = edge.edge.client().await;
    let mut draft = client.get(target).bearer(token);
    for (name, value) in headers {
        draft = draft.header(name, value);
    }
    draft.send().await
}

/// The targets of all requests that came, in the order they came.
fn targets(origin: &Origin) -> Vec<String> {
    origin.requests().into_iter().map(|request| request.target).collect()
}
