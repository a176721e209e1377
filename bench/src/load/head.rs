//! Heads of HTTP/1.1 as our own clients need them: whether they are whole, the status, the body's length.

use anyhow::{Context, Result, ensure};
use httparse::{Header, Status};

/// Bytes of a head. Proxies add some fields, no more.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Fields of a head.
pub(super) const FIELDS_MAX: usize = 64;

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// Of the body; none where no field says it.
    pub(super) length: Option<u64>,
    /// Of the head itself: the body begins behind them.
    pub(super) bytes: usize,
}

impl Head {
    /// The head at the beginning of what has come, once it is whole.
    ///
    /// # Errors
    /// It is none, is too long, or the body comes in chunks.
    pub(super) fn of_answer(come: &[u8]) -> Result<Option<Head>> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let Status::Complete(bytes) = head.parse(come)? else {
            ensure!(come.len() < HEAD_BYTES_MAX, "a head of more than {HEAD_BYTES_MAX} bytes");
            return Ok(None);
        };
        let status = head.code.context("no status")?;
        Ok(Some(Head { status, length: length(head.headers)?, bytes }))
    }
}

/// The length of a body, if a field says it.
///
/// # Errors
/// It is no number, or the body comes in chunks.
pub(super) fn length(fields: &[Header<'_>]) -> Result<Option<u64>> {
    let named = |name: &str| fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    ensure!(named("Transfer-Encoding").is_none(), "the body came in chunks, without a length");
    named("Content-Length").map(|field| Ok(std::str::from_utf8(field.value)?.trim().parse()?)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_its_status_and_length_once_its_head_is_whole() {
        let whole = b"HTTP/1.1 503 No\r\ncontent-length:  17\r\n\r\nbody";
        for end in 0..whole.len() - 4 {
            assert_eq!(Head::of_answer(&whole[..end]).unwrap(), None, "{end}");
        }
        let head = Head { status: 503, length: Some(17), bytes: whole.len() - 4 };
        assert_eq!(Head::of_answer(whole).unwrap(), Some(head));
        let head = Head::of_answer(b"HTTP/1.1 200 OK\r\nserver: a\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.status, head.length), (200, None));
    }

    #[test]
    fn what_our_clients_cannot_read_is_an_error() {
        for odd in [
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "SSH-2.0\r\n\r\n",
            &format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_BYTES_MAX)),
        ] {
            assert!(Head::of_answer(odd.as_bytes()).is_err(), "{odd}");
        }
    }
}
