//! One request and its answer over HTTP/1.1, as our own clients need it: a status, a length, no more.

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::head::Head;

/// Asks for a path and reads the whole answer, which must be 200 with a length. The answer is the bytes of the body.
///
/// # Errors
/// The connection broke, or the answer is not what it must be.
pub(super) async fn get(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> Result<u64> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", super::tls_client::NAME);
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut read = Vec::with_capacity(2048);
    let head = loop {
        ensure!(stream.read_buf(&mut read).await? > 0, "the connection ended instead of an answer");
        if let Some(head) = Head::of_answer(&read)? {
            break head;
        }
    };
    ensure!(head.status == 200, "the answer is {}, not 200", head.status);
    let length = head.length.context("an answer without Content-Length")?;
    let mut seen = (read.len() - head.bytes) as u64;
    while seen < length {
        read.clear();
        let count = stream.read_buf(&mut read).await?;
        ensure!(count > 0, "the body ended after {seen} of {length} bytes");
        seen += count as u64;
    }
    ensure!(seen == length, "{seen} bytes came instead of {length}");
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of asking one who answers so and closes.
    async fn asked(answer: &str) -> Result<u64> {
        let (mut near, mut far) = tokio::io::duplex(1024);
        far.write_all(answer.as_bytes()).await?;
        far.shutdown().await?;
        get(&mut near, "/").await
    }

    #[tokio::test]
    async fn only_a_whole_200_with_a_length_is_an_answer() {
        assert_eq!(asked("HTTP/1.1 200 OK\r\nContent-length: 3\r\n\r\nabc").await.unwrap(), 3);
        for odd in [
            "HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nServer: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd",
            "HTTP/1.1 200 OK\r\nContent-Le",
        ] {
            assert!(asked(odd).await.is_err(), "{odd}");
        }
    }
}
