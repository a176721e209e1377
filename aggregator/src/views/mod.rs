//! Views: tables of rows that events of Kafka are folded into.
//!
//! [`plan`] is `views:` compiled. [`table`] and [`mod@column`] are what a store looks like, for the fold, which writes it, and
//! for queries, which read it. [`versions`] is what the fold tells queries, [`changes`] what it tells this machine's bridge.

pub mod expression;
pub mod rule;
mod slices;
pub mod plan;
pub mod column;
pub mod table;
pub mod route;
pub mod versions;
pub mod poison;
mod number;
mod row;
mod event;
mod fold;
mod cache;
mod store;
pub mod batch;
pub mod changes;
mod queue;
pub mod files;
pub mod metrics;
pub mod status;
pub mod snapshot;
mod life;
pub mod folder;
pub mod offline;
pub mod hot;
pub mod query;
mod figures;
pub mod keeping;

pub use files::Files;
pub use folder::{Folder, ViewError, ViewParts};
pub use keeping::{Fingerprint, Keeping, KeepingError, ToKeep};
pub use offline::Offline;
pub use plan::{ViewPlan, Views};
pub use route::ViewRoute;

#[cfg(test)]
mod tests;
