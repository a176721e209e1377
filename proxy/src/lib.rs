//! The edge: listeners, the life of a request, reload, and the operator's side.
//!
//! [`Edge`] starts one in a program of one's own, [`command_line`] is all that the binary `sallyport` does, for any set of
//! filters. What a filter decides is in `sallyport-filters`, which target of a service a request gets in
//! `sallyport-upstreams`, what `routes.yaml` may say in `sallyport-config`.

// A request's way, in the order it goes it:
mod listener;
pub mod head;
mod phases;
mod carry;
mod pingora;
mod ctx;
mod begin;
pub mod client_address;
pub mod managed;
pub mod path;
mod trace;
mod decide;
pub mod route;
mod forward;
mod tunnel;
pub mod sidecar;
mod body;
mod fault;
mod reply;
mod end;
mod access_log;
mod metrics;

// What it goes by:
mod plan;
mod state;

// The operator's side:
mod run;
mod composing;
mod live;
mod reload;
mod watch;
mod admin;
pub mod inspect;
mod cli;
mod demo;

/// What a filter of one's own is written with.
pub use sallyport_filters as filters;

pub use cli::command_line;
pub use reload::ReloadError;
pub use run::{Edge, Running, StartError};
/// For `bench` alone, which counts what it costs.
#[doc(hidden)]
pub use tunnel::Frames;
