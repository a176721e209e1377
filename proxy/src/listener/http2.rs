//! HTTP/2 connections: Pingora's own accept loop with this listener's limits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use sallyport_config::listener::Limits;

use crate::phases::Phases;

const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
const HEADER_LIST_BYTES: u32 = 64 * 1024;

/// The proxy, with the HTTP/2 settings of one listener.
pub(super) struct Http2 {
    proxy: Arc<HttpProxy<Phases>>,
    h2: H2Options,
    server: HttpServerOptions,
}

impl Http2 {
    /// Settings from a listener's limits. The safe defaults of Pingora stay underneath (CVE-2026-105297).
    pub(super) fn new(proxy: Arc<HttpProxy<Phases>>, limits: &Limits) -> Self {
        let mut h2 = default_h2_options();
        h2.max_concurrent_streams(limits.h2_streams)
            .max_header_list_size(
                HEADER_LIST_BYTES.min(u32::try_from(limits.head_bytes.0).unwrap_or(u32::MAX)),
            )
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let mut server = HttpServerOptions::default();
        let idle: Duration = *limits.idle_timeout;
        server.h2_idle_timeout = Some(idle * 5);
        // `ServerApp` asks for this to look for the preface on a connection without ALPN; accept.rs has already seen it.
        server.h2c = true;
        Http2 { proxy, h2, server }
    }
}

#[async_trait]
impl HttpServerApp for Http2 {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.proxy.process_new_http(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        Some(self.h2.clone())
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.server)
    }
}
