//! Composed answers: what `aggregate:` and `answer:` of a route say, compiled and drawn.
//!
//! [`plan`] is the graph of branches, checked at load; [`text`] the texts with fields that calls are made of; [`explain`] says
//! what a composition does and how long it may take. Nothing here sends a request.

pub mod text;
pub mod plan;
pub mod explain;
