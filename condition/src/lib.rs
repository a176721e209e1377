//! Conditions of routes.yaml, and the fields of JSON texts that they and mappings read.
//!
//! A [`Condition`] is written in CEL, the Common Expression Language. The `cel` crate parses it; this crate checks it at
//! load, finds out what it reads, and decides it over borrowed JSON without copying. Nothing here knows channels, routes
//! or Kafka: callers say which variables there are and bind their values in [`Vars`].

mod alternative;
mod compile;
mod condition;
mod conversion;
mod error;
mod evaluate;
mod fold;
mod node;
pub mod path;
pub mod projection;
mod refusal;
mod residual;
pub mod singular;
mod value;
mod vars;

pub use alternative::Alternative;
pub use condition::{Condition, Reads};
pub use error::EvaluationError;
pub use evaluate::STEPS_MAX;
pub use node::Order;
pub use path::{FieldPath, Place, Step};
pub use projection::{Projection, ProjectionError, slice};
pub use residual::{Operation, Residual, Test};
pub use singular::{Unclosed, closing_brace, singular};
pub use vars::{Found, Vars};
