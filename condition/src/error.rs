//! Why a condition could not be decided.

use std::sync::Arc;

use thiserror::Error;

use crate::evaluate::STEPS_MAX;
use crate::path::Place;

/// Why a condition could not be decided. Callers take it for `false`. None of these holds a value from outside, and
/// none allocates: a missing field is an everyday thing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EvaluationError {
    /// A variable that is not bound, or a field or element that is not there.
    #[error("`{0}` is missing")]
    Missing(Arc<Place>),
    /// A field, a key or an element of something made on the way is not there.
    #[error("a field, key or element is missing")]
    NoSuchEntry,
    /// An operator or function that values of these types do not have.
    #[error("`{operation}` does not go with {left}{}{right}", if .right.is_empty() { "" } else { " and " })]
    Types {
        /// The operator or function.
        operation: &'static str,
        /// The type of its operand, or of the left one.
        left: &'static str,
        /// The type of the right one; empty where there is none.
        right: &'static str,
    },
    /// The condition came out as something else than true or false.
    #[error("the condition is {0}, not bool")]
    NotBoolean(&'static str),
    /// A number left the range of its type.
    #[error("a number is out of range")]
    Overflow,
    /// Division by zero, or its rest.
    #[error("division by zero")]
    DivisionByZero,
    /// A text or number that cannot be converted.
    #[error("`{0}(...)` cannot convert this value")]
    Conversion(&'static str),
    /// A map literal with the same key twice.
    #[error("a map has the same key twice")]
    RepeatedKey,
    /// [`STEPS_MAX`].
    #[error("it takes more than {STEPS_MAX} steps")]
    TooMuchWork,
}
