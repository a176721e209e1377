//! One answer from several services, and dashboard views kept from Kafka events.
//!
//! What an answer is composed of is in [`json`]: bytes, never trees.

pub mod json;
