//! One answer from several services, and dashboard views kept from Kafka events.
//!
//! A request comes from the edge as [`asked`], over the socket of [`server`]; what a route's answer is composed of, and in
//! which order, is planned in [`compose`]; what it is composed of is in [`json`]: bytes, never trees. [`views`] are tables
//! that events are folded into, and their queries. A [`Host`] holds it all together, in the edge's process or in one of its
//! own.

pub mod asked;
pub mod json;
pub mod compose;
pub mod views;
mod plan;
mod host;
mod bodies;
pub mod server;
mod serve;

pub use host::{Host, StartError};
pub use plan::{Plan, state_folder};
pub use serve::{ServeError, Serving, serve};
