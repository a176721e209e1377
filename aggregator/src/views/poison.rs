//! Why a record cannot be folded.

use sallyport_kafka::CloudEventError;
use thiserror::Error;

use super::slices::SliceError;

/// A record that cannot be folded: why, in a word for a metric and in a sentence for the log. Neither holds anything of the
/// record's value, key or headers.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{detail}")]
pub struct Poison {
    /// What kind of fault it is.
    pub reason: PoisonReason,
    /// What exactly, for the log.
    pub detail: String,
}

/// What kind of fault makes a record a poison record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoisonReason {
    /// The data is not one JSON value, or one that cannot be kept.
    NotJson,
    /// The value is not a CloudEvent although its content type says so, or of a format that is not read.
    CloudEvent,
    /// The row's key, `unique` or `ordered_by` is missing or null.
    FieldMissing,
    /// A value is of a type that cannot be used so.
    FieldType,
    /// A key or header is not UTF-8.
    NotText,
    /// The row's key, or what `unique` names, is empty or too long.
    Length,
    /// A sum left the range of its numbers.
    Overflow,
    /// The row would be larger than `row_bytes`.
    RowBytes,
}

impl PoisonReason {
    /// Every reason.
    pub const ALL: [PoisonReason; 8] = [
        PoisonReason::NotJson,
        PoisonReason::CloudEvent,
        PoisonReason::FieldMissing,
        PoisonReason::FieldType,
        PoisonReason::NotText,
        PoisonReason::Length,
        PoisonReason::Overflow,
        PoisonReason::RowBytes,
    ];

    /// The reason as a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            PoisonReason::NotJson => "not_json",
            PoisonReason::CloudEvent => "cloud_event",
            PoisonReason::FieldMissing => "field_missing",
            PoisonReason::FieldType => "field_type",
            PoisonReason::NotText => "not_text",
            PoisonReason::Length => "length",
            PoisonReason::Overflow => "overflow",
            PoisonReason::RowBytes => "row_bytes",
        }
    }
}

impl Poison {
    pub(super) fn new(reason: PoisonReason, detail: impl Into<String>) -> Poison {
        Poison { reason, detail: detail.into() }
    }
}

impl From<CloudEventError> for Poison {
    fn from(error: CloudEventError) -> Self {
        let reason = match &error {
            CloudEventError::Malformed(_) | CloudEventError::NoData => PoisonReason::CloudEvent,
            CloudEventError::AttributeType(_) => PoisonReason::FieldType,
            CloudEventError::NotText(_) => PoisonReason::NotText,
        };
        Poison::new(reason, error.to_string())
    }
}

impl From<SliceError> for Poison {
    fn from(error: SliceError) -> Self {
        Poison::new(PoisonReason::NotJson, format!("the data is {error}"))
    }
}
