//! JSON as bytes: checked, taken apart and put together without building trees.
//!
//! A body becomes a [`Checked`] once, by [`scan`](scan()); after that its bytes are only cut and joined, so that numbers,
//! escapes and the order of names stay as they were written.

mod run;
mod error;
mod scan;
mod checked;
mod quoted;
mod walk;
mod shape_rules;
mod shape;
mod rope;
mod layout;
mod template;
mod slot;
mod merge;
#[cfg(test)]
mod generate;

pub use checked::{Checked, Part};
pub use error::{JsonError, Reason};
pub use merge::{KEY_SHOWN_BYTES, Merge, MergeError};
pub use quoted::Quoted;
pub use rope::Rope;
pub use scan::{DEPTH_CEILING, Kind, Limits, scan};
pub use shape::{Shape, ShapeError};
pub use shape_rules::{RulesError, ShapeRules};
pub use slot::SlotError;
pub use template::{Piece, Template};
pub use walk::{Elements, Member, Members};
