//! How the values with two forms are read, written back and described: `match` and its conditions, targets, filter
//! entries, `websocket`, `on_error`, `topic`, `view`. The types are in `route.rs`, `upstream.rs`, `file.rs`, `aggregate.rs` and
//! `view.rs`.

mod filter_entry;
mod matches;
mod on_error;
mod route_view;
mod target;
mod topics;
mod value_match;
mod web_socket;
mod written;

pub(crate) use written::Written;
