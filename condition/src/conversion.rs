//! Conversions between the types of values: `int(...)`, `string(...)` and the like.

use crate::error::EvaluationError;
use crate::node::Convert;
use crate::value::Val;

/// Converts a value.
pub(crate) fn conversion(convert: Convert, operand: Val<'_>) -> Result<Val<'_>, EvaluationError> {
    // The ends of the ranges are cel-go's: a double at or beyond them is refused, since `as` would saturate.
    const INT_ENDS: (f64, f64) = (-9_223_372_036_854_775_808.0, 9_223_372_036_854_775_808.0);
    const UINT_END: f64 = 18_446_744_073_709_551_616.0;
    let (name, made) = match convert {
        Convert::Bool => (
            "bool",
            match &operand {
                Val::Bool(value) => Some(Val::Bool(*value)),
                // The spellings of Go's strconv.ParseBool, as cel-go takes them.
                other => match other.text() {
                    Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Some(Val::Bool(true)),
                    Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Some(Val::Bool(false)),
                    _ => None,
                },
            },
        ),
        Convert::Int => (
            "int",
            match &operand {
                Val::Int(value) => Some(Val::Int(*value)),
                Val::UInt(value) => i64::try_from(*value).ok().map(Val::Int),
                Val::Double(value) if *value > INT_ENDS.0 && *value < INT_ENDS.1 => {
                    Some(Val::Int(*value as i64))
                }
                other => other.text().and_then(|text| text.parse().ok()).map(Val::Int),
            },
        ),
        Convert::UInt => (
            "uint",
            match &operand {
                Val::UInt(value) => Some(Val::UInt(*value)),
                Val::Int(value) => u64::try_from(*value).ok().map(Val::UInt),
                Val::Double(value) if *value >= 0.0 && *value < UINT_END => Some(Val::UInt(*value as u64)),
                other => other.text().and_then(|text| text.parse().ok()).map(Val::UInt),
            },
        ),
        Convert::Double => (
            "double",
            match &operand {
                Val::Double(value) => Some(Val::Double(*value)),
                Val::Int(value) => Some(Val::Double(*value as f64)),
                Val::UInt(value) => Some(Val::Double(*value as f64)),
                other => other.text().and_then(|text| text.parse().ok()).map(Val::Double),
            },
        ),
        Convert::Text => (
            "string",
            match &operand {
                Val::Text(_) | Val::Made(_) => return Ok(operand),
                Val::Bool(value) => Some(Val::Made(value.to_string().into())),
                Val::Int(value) => Some(Val::Made(value.to_string().into())),
                Val::UInt(value) => Some(Val::Made(value.to_string().into())),
                Val::Double(value) => Some(Val::Made(value.to_string().into())),
                _ => None,
            },
        ),
    };
    made.ok_or(EvaluationError::Conversion(name))
}
