//! Why a record cannot become an event.

use std::fmt;

use sallyport_kafka::CloudEventError;

/// A record that cannot be mapped: why, in a word for a metric and in a sentence for the log. Neither holds anything of
/// the record's value, key or headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// What kind of fault it is.
    pub reason: PoisonReason,
    /// What exactly, for the log.
    pub detail: String,
}

/// What kind of fault makes a record a poison record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoisonReason {
    /// The value is not one JSON value.
    NotJson,
    /// The value is not a CloudEvent although its content type says so, or of a format that is not read.
    CloudEvent,
    /// There is no data for clients.
    NoData,
    /// A field that the channel needs is missing or null.
    FieldMissing,
    /// A field is an object or a list where a text is needed.
    FieldType,
    /// A key or header is not UTF-8.
    NotText,
    /// The channel's name is empty, too long, or has characters that channels do not have; or a tag is too long.
    Name,
}

impl PoisonReason {
    /// Every reason.
    pub const ALL: [PoisonReason; 7] = [
        PoisonReason::NotJson,
        PoisonReason::CloudEvent,
        PoisonReason::NoData,
        PoisonReason::FieldMissing,
        PoisonReason::FieldType,
        PoisonReason::NotText,
        PoisonReason::Name,
    ];

    /// The reason as a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            PoisonReason::NotJson => "not_json",
            PoisonReason::CloudEvent => "cloud_event",
            PoisonReason::NoData => "no_data",
            PoisonReason::FieldMissing => "field_missing",
            PoisonReason::FieldType => "field_type",
            PoisonReason::NotText => "not_text",
            PoisonReason::Name => "name",
        }
    }
}

impl Poison {
    pub(super) fn new(reason: PoisonReason, detail: impl Into<String>) -> Self {
        Poison { reason, detail: detail.into() }
    }
}

impl From<CloudEventError> for Poison {
    fn from(error: CloudEventError) -> Self {
        let reason = match &error {
            CloudEventError::Malformed(_) => PoisonReason::CloudEvent,
            CloudEventError::NoData => PoisonReason::NoData,
            CloudEventError::AttributeType(_) => PoisonReason::FieldType,
            CloudEventError::NotText(_) => PoisonReason::NotText,
        };
        Poison::new(reason, error.to_string())
    }
}

impl fmt::Display for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Poison {}
