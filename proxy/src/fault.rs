//! From what went wrong to what the client is told: the only place where errors become replies.

use pingora_error::{Error, ErrorSource, ErrorType};
use sallyport_filters::{Fault, ProblemKind, Reply};
use sallyport_upstreams::PickError;

use crate::metrics::Outcome;

/// Marks an error of ours in Pingora's error type; the fault itself waits in the exchange's context.
pub(crate) const OURS: ErrorType = ErrorType::Custom("SallyportFault");
/// Marks a response that is thrown away so that the request can be tried again.
pub(crate) const TRY_AGAIN: ErrorType = ErrorType::Custom("SallyportTryAgain");

/// The reply to a failed exchange; `None` where nobody is left to read it.
pub(crate) fn to_reply(error: &Error, fault: Option<&Fault>) -> Option<Reply> {
    if let Some(fault) = fault {
        return Some(Reply::problem(fault.kind, detail(fault.kind)));
    }
    let kind = match error.esource() {
        ErrorSource::Upstream => upstream(error.etype()),
        ErrorSource::Downstream if malformed(error) => ProblemKind::BadRequest,
        ErrorSource::Downstream => downstream(error.etype())?,
        ErrorSource::Internal | ErrorSource::Unset => ProblemKind::Internal,
    };
    Some(Reply::problem(kind, detail(kind)))
}

/// How a failed try counts for the metric `upstream_outcomes_total`.
pub(crate) fn outcome(error: &Error) -> Outcome {
    match error.etype() {
        ErrorType::ConnectTimedout
        | ErrorType::ReadTimedout
        | ErrorType::WriteTimedout
        | ErrorType::TLSHandshakeTimedout => Outcome::Timeout,
        etype if is_connect(etype) => Outcome::Connect,
        _ => Outcome::Broken,
    }
}

/// Whether an error says that no connection was made.
pub(crate) fn is_connect(etype: &ErrorType) -> bool {
    matches!(
        etype,
        ErrorType::ConnectTimedout
            | ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::BindError
            | ErrorType::SocketError
            | ErrorType::TLSHandshakeFailure
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::InvalidCert
            | ErrorType::HandshakeError
            | ErrorType::TLSWantX509Lookup
            | ErrorType::ConnectProxyFailure
    )
}

/// No target could be picked.
pub(crate) fn unpicked(error: PickError) -> Fault {
    let reason = match error {
        PickError::Unresolved => "no address of the upstream is known",
        PickError::AllBusy => "every target is at its `in_flight` limit",
        PickError::NoneHealthy => "no target is healthy",
    };
    Fault::new(ProblemKind::Unavailable, reason)
}

/// The listener's stream breaks off reading where a chunked body breaks the rules.
fn malformed(error: &Error) -> bool {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::InvalidData)
}

fn upstream(etype: &ErrorType) -> ProblemKind {
    match etype {
        ErrorType::ConnectTimedout
        | ErrorType::ReadTimedout
        | ErrorType::WriteTimedout
        | ErrorType::TLSHandshakeTimedout => ProblemKind::GatewayTimeout,
        _ => ProblemKind::BadGateway,
    }
}

fn downstream(etype: &ErrorType) -> Option<ProblemKind> {
    match etype {
        ErrorType::ReadTimedout => Some(ProblemKind::RequestTimeout),
        ErrorType::ReadError
        | ErrorType::WriteError
        | ErrorType::WriteTimedout
        | ErrorType::ConnectionClosed => None,
        // Pingora's name for bytes behind the end of a body: nothing sensible can follow them.
        ErrorType::ConnectError => None,
        _ => Some(ProblemKind::BadRequest),
    }
}

/// What a client is told: the same words for every case of a kind, so that nothing internal slips out.
fn detail(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::BadRequest => "the request could not be understood",
        ProblemKind::RequestTimeout => "the request came too slowly",
        ProblemKind::ContentTooLarge => "the body is larger than this route allows",
        ProblemKind::BadGateway => {
            "the service behind this edge could not be reached or did not answer properly"
        }
        ProblemKind::Unavailable => "the service behind this edge cannot take the request now",
        ProblemKind::GatewayTimeout => "the service behind this edge did not answer in time",
        ProblemKind::Internal => "the edge failed; the request id finds the reason in its log",
        kind => kind.title(),
    }
}
