//! How the values with two forms are read, written back and described: `match` and its conditions, targets, filter
//! entries, `websocket`. The types are in `route.rs`, `upstream.rs` and `file.rs`.

mod filter_entry;
mod matches;
mod target;
mod value_match;
mod web_socket;
