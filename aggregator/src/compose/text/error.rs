//! Why a text could not be filled in: the field, never its value.

use std::sync::Arc;

use thiserror::Error;

/// A field that has no value which could stand here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{{{field}}}` {fault}")]
pub struct FieldError {
    /// The field as it was written, without the braces.
    pub field: Arc<str>,
    /// What is wrong with its value.
    pub fault: FieldFault,
}

/// What is wrong with the value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum FieldFault {
    /// There is none.
    #[error("has no value")]
    Missing,
    /// It is `null`, a list or an object where a text is needed: as good as missing.
    #[error("is no string, number or boolean")]
    NoScalar,
    /// It is no text: not UTF-8, or half of a surrogate pair.
    #[error("is no text in UTF-8")]
    NoText,
    /// It is empty, `.` or `..` in a path.
    #[error("is empty or made of dots, which cannot be a segment of a path")]
    NoSegment,
    /// It makes what it is put into longer than that may be.
    #[error("makes the call longer than it may be")]
    TooLong,
}

impl FieldFault {
    /// Whether there is nothing that could be put here, rather than something unfit.
    pub fn is_absence(self) -> bool {
        matches!(self, FieldFault::Missing | FieldFault::NoScalar)
    }
}
