//! Decisions about one exchange.
//!
//! A [`Filter`] reads the head of a request, decides, and may shape what goes on to the upstream and what comes
//! back. It never sees a socket, a runtime or Pingora's session: everything it may know is in [`Exchange`], and
//! everything it may answer is a [`Reply`]. The proxy crate carries decisions out; the config crate reads what the
//! operator wrote. Neither is repeated here.

pub mod exchange;
pub mod reply;
pub mod filter;
pub mod chain;
pub mod build;
pub mod registry;
pub mod probe;
pub mod setting;
pub mod field;
pub mod key;
pub mod request_id;
pub mod ip_allow;
pub mod cors;
pub mod security_headers;
mod credential;
pub mod jwt;
pub mod api_key;
pub mod rate_limit;
pub mod concurrency_limit;
pub mod body_limit;
pub mod headers;
pub mod rewrite;

// What the trait speaks in, so that a filter of one's own needs neither to name these crates nor to guess their versions.
pub use sallyport_config as config;
pub use sallyport_identity as identity;
pub use {bytes, futures, http, pingora_http, prometheus, serde_json};

pub use build::{Build, Kept};
pub use chain::Chain;
pub use exchange::{Exchange, Facts, Slot};
pub use filter::{BodyTransform, Fault, Filter, Outcome, Stage, Step};
pub use registry::{Kind, Registry};
pub use reply::{Problem, ProblemKind, Reply};
