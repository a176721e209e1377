//! How long a tunnel lives: until a side ends it, nothing was heard for too long, it is too old, or the edge stops.

use std::borrow::Cow;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::half::{Broken, From};
use super::pipe::Pipe;
use crate::listener::Drain;
use crate::sidecar::{Ended, Reason};

/// RFC 6455, section 7.4.1: an endpoint is going away.
const GOING_AWAY: u16 = 1001;
/// How long the sides get to answer a Close frame of ours (section 7.1.1: an endpoint may cut at any time).
const ANSWER: Duration = Duration::from_secs(2);
/// How long connections get to end. What is left then is dropped.
const SHUT: Duration = Duration::from_secs(1);
/// The limit that stands for none: a time that no process reaches.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The limits of a tunnel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Without a byte in either direction.
    pub(crate) idle: Option<Duration>,
    /// In all.
    pub(crate) max_age: Option<Duration>,
}

/// Runs a tunnel to its end. `window` tells, when the edge stops, how long the closes are spread over.
pub(super) async fn live<C, U>(
    pipe: &mut Pipe<C, U>,
    limits: Limits,
    mut drain: Drain,
    window: impl Fn() -> Duration,
) -> Ended
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let born = Instant::now();
    let too_old = born + limits.max_age.unwrap_or(NEVER);
    let idle = limits.idle.unwrap_or(NEVER);
    let reason = {
        let timer = sleep_until(too_old.min(born + idle));
        tokio::pin!(timer);
        loop {
            tokio::select! {
                biased;
                end = &mut *pipe => return ended(pipe, end),
                _ = drain.stop.wait_for(|stop| *stop) => break Reason::Drain,
                () = &mut timer => {
                    let (now, silent) = (Instant::now(), pipe.heard() + idle);
                    if now >= too_old {
                        break Reason::Age;
                    }
                    if now >= silent {
                        break Reason::Idle;
                    }
                    timer.as_mut().reset(too_old.min(silent));
                }
            }
        }
    };
    if reason == Reason::Drain {
        // Spread, so that the clients of this edge do not all come to the next one at once.
        let wait = window().mul_f64(fastrand::f64());
        tokio::select! {
            biased;
            end = &mut *pipe => return ended(pipe, end),
            _ = drain.kill.wait_for(|kill| *kill) => return leave(pipe, reason),
            () = sleep(wait) => {}
        }
    }
    pipe.close(GOING_AWAY);
    // Whatever this ends with, the reason is known.
    let _ = timeout(ANSWER, &mut *pipe).await;
    let _ = timeout(SHUT, pipe.shut()).await;
    leave(pipe, reason)
}

fn ended<C, U>(pipe: &Pipe<C, U>, end: Result<(), Broken>) -> Ended
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    match end {
        Ok(()) if pipe.first_to_end() == Some(From::Upstream) => leave(pipe, Reason::Upstream),
        Ok(()) => leave(pipe, Reason::Client),
        Err(Broken { side, error }) => {
            let side = match side {
                From::Client => "client",
                From::Upstream => "upstream",
            };
            let error = Cow::Owned(format!("{side}: {}", error.kind()));
            Ended { error: Some(error), ..leave(pipe, Reason::Error) }
        }
    }
}

fn leave<C, U>(pipe: &Pipe<C, U>, reason: Reason) -> Ended
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let (received_bytes, sent_bytes) = pipe.bytes();
    Ended { reason, received_bytes, sent_bytes, error: None }
}
