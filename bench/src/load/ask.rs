//! One request and its answer over HTTP/1.1, as our own clients need it: a status, a length, no more.

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of an answer's head. No server here says so much.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Asks for a path and reads the whole answer, which must be 200 with a length. The answer is the bytes of the body.
///
/// # Errors
/// The connection broke, or the answer is not what it must be.
pub(super) async fn get(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> Result<u64> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", super::tls_client::NAME);
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut read = Vec::with_capacity(2048);
    let end = loop {
        ensure!(read.len() < HEAD_BYTES_MAX, "the answer's head does not end");
        ensure!(stream.read_buf(&mut read).await? > 0, "the connection ended instead of an answer");
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let length = length(std::str::from_utf8(&read[..end])?)?;
    let mut seen = (read.len() - end) as u64;
    while seen < length {
        read.clear();
        let count = stream.read_buf(&mut read).await?;
        ensure!(count > 0, "the body ended after {seen} of {length} bytes");
        seen += count as u64;
    }
    ensure!(seen == length, "{seen} bytes came instead of {length}");
    Ok(length)
}

/// The length that a head with status 200 promises.
///
/// # Errors
/// Another status, or no length.
pub(super) fn length(head: &str) -> Result<u64> {
    let (status, fields) = head.split_once("\r\n").context("a head of less than one line")?;
    ensure!(status.split(' ').nth(1) == Some("200"), "the answer is `{status}`, not 200");
    let field = fields.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = field.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, value) = lengths.next().with_context(|| format!("no Content-Length in:\n{head}"))?;
    Ok(value.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_200_with_a_length_is_an_answer() {
        assert_eq!(length("HTTP/1.1 200 OK\r\nserver: a\r\nContent-length: 17\r\n\r\n").unwrap(), 17);
        assert!(length("HTTP/1.1 503 No\r\nContent-Length: 17\r\n\r\n").is_err());
        assert!(length("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(length("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n").is_err());
    }
}
