//! Views: tables of rows that events of Kafka are folded into.
//!
//! [`plan`] is `views:` compiled. [`table`] and [`column`] are what a store looks like, for the fold, which writes it, and
//! for queries, which read it.

pub mod expression;
pub mod rule;
mod slices;
pub mod plan;
pub mod column;
pub mod table;
pub mod route;

pub use plan::{ViewPlan, Views};
pub use route::ViewRoute;
