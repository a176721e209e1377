//! `routes.yaml` as written: types, units, and errors that show the place and the way out.
//!
//! Nothing here knows what a filter does or opens a socket. Names are resolved and plans are built in the proxy.

pub mod aggregate;
pub mod aggregator;
mod check;
mod core_schema;
mod decode;
mod decode_error;
mod fault;
pub mod file;
mod forms;
mod include;
pub mod issuer;
pub mod kafka;
pub mod listener;
pub mod load;
pub mod located;
mod nearest;
pub mod node;
pub mod parse;
mod parse_hint;
mod pattern;
mod reader;
pub mod reference;
pub mod report;
pub mod route;
pub mod schema;
mod secrets;
mod snippet;
mod text_or_map;
pub mod units;
pub mod upstream;
pub mod view;
pub mod ws_bridge;

pub use file::{Config, FilterEntry, Loaded, Process};
pub use load::{load, load_text};
pub use located::{Located, Location, Named};
pub use node::Node;
pub use report::{Diagnostic, Report, Severity, nearest};
