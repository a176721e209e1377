//! Why a text is not taken as JSON: a place and a reason, never what stands there.

use thiserror::Error;

/// Why a text was refused. Neither this nor how it prints shows anything of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[error("{reason}, at byte {at}")]
pub struct JsonError {
    /// How many bytes stand before the fault; the length of the text if it ends too early.
    pub at: usize,
    /// What is wrong there.
    pub reason: Reason,
}

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Reason {
    /// More bytes than [`Limits::bytes_max`](super::Limits::bytes_max).
    #[error("longer than the limit")]
    TooLong,
    /// More levels of arrays and objects than [`Limits::depth_max`](super::Limits::depth_max).
    #[error("nested deeper than the limit")]
    TooDeep,
    /// Nothing but blanks.
    #[error("empty where one JSON value is needed")]
    Empty,
    /// The text ends inside a value, perhaps inside a character.
    #[error("the JSON text ends too early")]
    EndsEarly,
    /// Not UTF-8: RFC 8259, section 8.1.
    #[error("not UTF-8")]
    NotUtf8,
    /// A byte order mark, which RFC 8259, section 8.1, forbids to send.
    #[error("a byte order mark where a JSON value is needed")]
    ByteOrderMark,
    /// Something that begins no value.
    #[error("not JSON: no value begins so")]
    Value,
    /// Something other than a quoted name in an object.
    #[error("not JSON: an object needs a quoted name here")]
    Name,
    /// Something other than `:` behind a name.
    #[error("not JSON: a name needs a colon behind it")]
    Colon,
    /// Something other than `,` or the end of the array or object behind a value.
    #[error("not JSON: a comma or the end of the array or object is needed here")]
    CommaOrEnd,
    /// A number with leading zeros, or without digits where some are needed: RFC 8259, section 6.
    #[error("not JSON: no number is written so")]
    Number,
    /// `\` and something that RFC 8259, section 7, does not list.
    #[error("not JSON: no such escape")]
    Escape,
    /// A control character that is not escaped: RFC 8259, section 7.
    #[error("not JSON: a control character in a string must be escaped")]
    Control,
    /// Something behind the value.
    #[error("not JSON: more than one value")]
    Trailing,
}
