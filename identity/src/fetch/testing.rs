//! An origin for tests: answers each request with what a function says, then closes the connection.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A server on a port of its own; gone when dropped.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    /// Requests seen.
    pub seen: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Origin {
    /// `answer` gets the number of the request, from 0, and its head; `None` leaves the client waiting.
    pub async fn start(answer: impl Fn(usize, &str) -> Option<String> + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(AtomicUsize::new(0));
        let (counter, answer) = (seen.clone(), Arc::new(answer));
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (counter, answer) = (counter.clone(), answer.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    let number = counter.fetch_add(1, SeqCst);
                    match answer(number, std::str::from_utf8(&head).unwrap()) {
                        Some(text) => {
                            let _ = stream.write_all(text.as_bytes()).await;
                        }
                        None => std::future::pending().await,
                    }
                });
            }
        });
        Origin { address, seen, task }
    }

    /// How many requests it has seen.
    pub fn requests(&self) -> usize {
        self.seen.load(SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer with a body of known length.
pub fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// Polls until `is` holds; fails after ten seconds.
pub async fn eventually(mut is: impl FnMut() -> bool) {
    let wait = async {
        while !is() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    within_ten_seconds(wait).await;
}

/// Awaits, but fails rather than hangs.
pub async fn within_ten_seconds<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(10), work).await.expect("ten seconds have passed")
}

/// An origin behind TLS, in a thread of its own: answers every request with 200 and `well`, one a connection, or
/// leaves the client waiting.
pub struct TlsOrigin {
    /// Where it listens.
    pub address: SocketAddr,
    /// The authority to trust, as PEM.
    pub ca: String,
}

impl TlsOrigin {
    /// Its certificate is for `name` alone.
    pub fn start(name: &str, answers: bool) -> TlsOrigin {
        use std::io::{Read, Write};

        let issued = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let connection = rustls::ServerConnection::new(config.clone()).unwrap();
                let mut stream = rustls::StreamOwned::new(connection, socket.unwrap());
                std::thread::spawn(move || {
                    let mut head = Vec::new();
                    let mut byte = [0];
                    while !head.ends_with(b"\r\n\r\n") {
                        if stream.read_exact(&mut byte).is_err() {
                            return;
                        }
                        head.push(byte[0]);
                    }
                    if answers {
                        let _ = stream.write_all(answer("200 OK", "well").as_bytes());
                    }
                    let _ = stream.read(&mut byte);
                });
            }
        });
        TlsOrigin { address, ca: issued.cert.pem() }
    }

    /// Writes the authority to a file of the given name in the folder for temporary files.
    pub fn ca_file(&self, name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("sallyport-{name}-{}.pem", std::process::id()));
        std::fs::write(&path, &self.ca).unwrap();
        path
    }
}
