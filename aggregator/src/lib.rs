//! One answer from several services, and dashboard views kept from Kafka events.
//!
//! A request comes from the edge as [`asked`]; what an answer is composed of is in [`json`]: bytes, never trees.

pub mod asked;
pub mod json;
