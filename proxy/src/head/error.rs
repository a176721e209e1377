//! What can be wrong with a request head, and what the client is told.

use sallyport_filters::ProblemKind;

macro_rules! head_errors {
    ($($(#[$doc:meta])* $name:ident $kind:ident $detail:literal;)*) => {
        /// What is wrong with a request head.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum HeadError { $($(#[$doc])* $name,)* }

        impl HeadError {
            /// Every error, for documentation and tests.
            pub const ALL: &'static [HeadError] = &[$(HeadError::$name,)*];

            /// The kind of problem the client is told, which has the status.
            pub fn kind(self) -> ProblemKind {
                match self { $(HeadError::$name => ProblemKind::$kind,)* }
            }

            /// One English clause for the client and the log. It never quotes the request.
            pub fn detail(self) -> &'static str {
                match self { $(HeadError::$name => $detail,)* }
            }
        }
    };
}

head_errors! {
    /// The head has no end.
    Incomplete BadRequest "the request head is incomplete";
    /// RFC 9112, section 2.2.
    BareLineFeed BadRequest "a line ends with a bare line feed";
    /// RFC 9112, section 3: one space on either side of the target, and at most one empty line before.
    BadRequestLine BadRequest "the request line is not `method SP target SP version`";
    /// RFC 9110, section 9.1: a method is a token.
    BadMethod BadRequest "the method is not a token";
    /// RFC 9110, section 9.3.6: this edge is no tunnel.
    ConnectRefused BadRequest "CONNECT is not served here";
    /// RFC 9110, section 15.6.6. HTTP/2 is spoken by prior knowledge or ALPN, never in an HTTP/1 request line.
    BadVersion BadRequest "the version is neither HTTP/1.1 nor HTTP/1.0";
    /// RFC 9112, section 3.2: a byte that no request target may hold.
    BadTarget BadRequest "the request target holds a character that must be percent-encoded";
    /// RFC 9112, section 3.2: neither a path nor an `http` or `https` URL; or `*` without OPTIONS.
    BadTargetForm BadRequest "the request target has the wrong form";
    /// The request line alone is longer than the listener reads.
    TargetTooLong UriTooLong "the request target is too long";
    /// The head is longer than the listener reads.
    HeadTooLarge HeadersTooLarge "the request head is too large";
    /// More fields than the listener allows.
    TooManyFields HeadersTooLarge "the request has too many header fields";
    /// RFC 9112, section 5.2.
    ObsoleteFold BadRequest "a header field is folded over several lines";
    /// RFC 9112, section 5.1.
    SpaceBeforeColon BadRequest "white space stands before a header field's colon";
    /// RFC 9110, section 5.1: a name is a token.
    BadFieldName BadRequest "a header field's name is not a token";
    /// Some servers take `_` for `-`, so such a name can pass for one that the edge manages.
    Underscore BadRequest "a header field's name holds an underscore";
    /// RFC 9110, section 5.5: a control character in a value, a bare CR or a NUL among them.
    BadFieldValue BadRequest "a header field's value holds a control character";
    /// RFC 9112, section 3.2.
    HostMissing BadRequest "the Host header field is missing";
    /// RFC 9112, section 3.2.
    HostTwice BadRequest "there is more than one Host header field";
    /// RFC 9110, section 7.2.
    BadHost BadRequest "the host is not a name or address with an optional port";
    /// RFC 9112, section 3.2.2, and RFC 9113, section 8.3.1.
    HostDisagrees BadRequest "the Host header field and the request target name different hosts";
    /// RFC 9112, section 6.3: even two equal lengths are one too many.
    ContentLengthTwice BadRequest "there is more than one Content-Length header field";
    /// RFC 9110, section 8.6.
    BadContentLength BadRequest "the Content-Length is not a number";
    /// RFC 9112, section 6.1: anything but one `chunked`.
    BadTransferEncoding BadRequest "the Transfer-Encoding is not `chunked`, once";
    /// RFC 9112, section 6.1, and CVE-2026-2835.
    TransferEncodingInHttp10 BadRequest "an HTTP/1.0 request has a Transfer-Encoding";
    /// RFC 9112, section 6.3: ought to be handled as an error.
    LengthAndEncoding BadRequest "the request has both Content-Length and Transfer-Encoding";
    /// RFC 9110, section 10.1.1.
    BadExpect BadRequest "the Expect header field is not `100-continue`";
    /// RFC 9113, section 8.2.2.
    ConnectionSpecific BadRequest "an HTTP/2 request has a connection-specific header field";
    /// RFC 9113, section 8.2.2: `te` may say `trailers` only.
    BadTe BadRequest "the TE header field of an HTTP/2 request is not `trailers`";
    /// RFC 9113, section 8.3.1.
    BadScheme BadRequest "the scheme is neither http nor https";
}

impl std::fmt::Display for HeadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for HeadError {}
