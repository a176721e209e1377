//! The protocol's codes: errors that answer a command, closes of a connection, ends of a subscription.

/// An error that answers a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ErrorCode {
    pub(crate) code: u32,
    pub(crate) message: &'static str,
    /// Whether the client should try again.
    pub(crate) temporary: bool,
}

impl ErrorCode {
    const fn lasting(code: u32, message: &'static str) -> Self {
        ErrorCode { code, message, temporary: false }
    }

    const fn passing(code: u32, message: &'static str) -> Self {
        ErrorCode { code, message, temporary: true }
    }

    pub(crate) const INTERNAL: Self = Self::passing(100, "internal server error");
    /// The events of the channel are not all read yet, or Kafka cannot be reached.
    pub(crate) const NOT_READY: Self = Self::passing(100, "not ready");
    pub(crate) const UNKNOWN_CHANNEL: Self = Self::lasting(102, "unknown channel");
    pub(crate) const PERMISSION_DENIED: Self = Self::lasting(103, "permission denied");
    pub(crate) const METHOD_NOT_FOUND: Self = Self::lasting(104, "method not found");
    pub(crate) const ALREADY_SUBSCRIBED: Self = Self::lasting(105, "already subscribed");
    pub(crate) const LIMIT_EXCEEDED: Self = Self::lasting(106, "limit exceeded");
    pub(crate) const BAD_REQUEST: Self = Self::lasting(107, "bad request");
    pub(crate) const NOT_AVAILABLE: Self = Self::lasting(108, "not available");
    pub(crate) const TOKEN_EXPIRED: Self = Self::lasting(109, "token expired");
    pub(crate) const TOO_MANY_REQUESTS: Self = Self::passing(111, "too many requests");
    pub(crate) const UNRECOVERABLE_POSITION: Self = Self::lasting(112, "unrecoverable position");
}

/// Why a connection is closed. 3000 to 3499: the client comes back; from 3500 on it does not. Below 3000 are the codes of
/// RFC 6455, section 7.4.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) code: u16,
    /// A fixed word or two, for the client and for metrics.
    pub(crate) reason: &'static str,
}

impl Close {
    const fn of(code: u16, reason: &'static str) -> Self {
        Close { code, reason }
    }

    pub(crate) const NORMAL: Self = Self::of(1000, "");
    pub(crate) const PROTOCOL_ERROR: Self = Self::of(1002, "protocol error");
    pub(crate) const NOT_UTF8: Self = Self::of(1007, "invalid UTF-8");
    pub(crate) const TOO_BIG: Self = Self::of(1009, "message too big");
    pub(crate) const SHUTDOWN: Self = Self::of(3001, "shutdown");
    pub(crate) const EXPIRED: Self = Self::of(3005, "connection expired");
    pub(crate) const SLOW: Self = Self::of(3008, "slow");
    pub(crate) const INSUFFICIENT_STATE: Self = Self::of(3010, "insufficient state");
    pub(crate) const FORCE_RECONNECT: Self = Self::of(3011, "force reconnect");
    pub(crate) const NO_PONG: Self = Self::of(3012, "no pong");
    pub(crate) const TOO_MANY_REQUESTS: Self = Self::of(3013, "too many requests");
    pub(crate) const INVALID_TOKEN: Self = Self::of(3500, "invalid token");
    pub(crate) const BAD_REQUEST: Self = Self::of(3501, "bad request");
    pub(crate) const STALE: Self = Self::of(3502, "stale");
    pub(crate) const CONNECTION_LIMIT: Self = Self::of(3504, "connection limit");
    pub(crate) const CHANNEL_LIMIT: Self = Self::of(3505, "channel limit");
    pub(crate) const INAPPROPRIATE_PROTOCOL: Self = Self::of(3506, "inappropriate protocol");
    pub(crate) const PERMISSION_DENIED: Self = Self::of(3507, "permission denied");
}

/// Why a subscription ends although the client did not ask for it. From 2500 on the client subscribes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsubscribed {
    pub(crate) code: u32,
    pub(crate) reason: &'static str,
}

impl Unsubscribed {
    /// The client may not be subscribed any more.
    pub(crate) const SERVER: Self = Unsubscribed { code: 2000, reason: "server unsubscribe" };
    /// Events may be missing; the client's position shows which.
    pub(crate) const INSUFFICIENT_STATE: Self = Unsubscribed { code: 2500, reason: "insufficient state" };
    pub(crate) const EXPIRED: Self = Unsubscribed { code: 2501, reason: "subscription expired" };
}
