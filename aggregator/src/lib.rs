//! One answer from several services, and dashboard views kept from Kafka events.
//!
//! A request comes from the edge as [`asked`]; what a route's answer is composed of, and in which order, is planned in
//! [`compose`]; what it is composed of is in [`json`]: bytes, never trees.

pub mod asked;
pub mod json;
pub mod compose;
pub mod views;
