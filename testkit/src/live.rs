//! A bridge of a story: Kafka inside this process, an edge, and the bridge in one of its two places. Its clients are in
//! `live_client`.

use std::sync::Arc;

use sallyport_kafka::EmbeddedBroker;
use sallyport_ws_bridge::Serving;
use serde_json::Value;
use tokio::net::TcpSocket;

use crate::edge::{EdgeUnderTest, ask, total};
use crate::live_client::LiveClient;
use crate::mode::Mode;
use crate::response::Response;
use crate::tokens::Tokens;
use crate::wait::{until, within};
use crate::websocket::{Upgrade, WebSocketClient};

const SOCKET: &str = "bridge.sock";
/// What the system gives to a client that is not to take much: it rounds up.
const SLOW_BYTES: u32 = 4096;

/// Kafka, an edge and a bridge.
pub struct LiveEdge {
    /// Kafka.
    pub broker: Arc<EmbeddedBroker>,
    /// The edge. Routes: `/live` is public, `/guarded` asks for a token in a header, `/cookie` for one in the cookie
    /// `session`, `/plain` answers `plain`.
    pub edge: EdgeUnderTest,
    /// The issuer `main`, whom the bridge believes, too.
    pub tokens: Tokens,
    mode: Mode,
    bridge: Option<Serving>,
}

impl LiveEdge {
    /// Starts all three. `settings` are lines of the section `ws_bridge`, indented by two; the topics have one
    /// partition.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn start(mode: Mode, topics: &[&str], settings: &str) -> Self {
        let topics: Vec<_> = topics.iter().map(|topic| (*topic, 1)).collect();
        let broker = Arc::new(EmbeddedBroker::start(&topics).expect("a broker"));
        Self::start_with(mode, broker, settings).await
    }

    /// The same with a broker that is there, or that is down.
    pub async fn start_with(mode: Mode, broker: Arc<EmbeddedBroker>, settings: &str) -> Self {
        let tokens = Tokens::new("https://id.test/", "platform");
        let text = configuration(mode, &broker, settings, "");
        let edge = EdgeUnderTest::builder()
            .file("jwks.json", tokens.jwks().to_string())
            .file("revoked.json", "{}")
            .start(&text)
            .await;
        let bridge = match mode {
            Mode::Embedded => None,
            Mode::Separate => {
                let path = edge.path("routes.yaml");
                let serving = within("the start of the bridge", sallyport_ws_bridge::serve(&path)).await;
                Some(serving.unwrap_or_else(|error| panic!("the bridge did not start:\n{error}")))
            }
        };
        LiveEdge { broker, edge, tokens, mode, bridge }
    }

    /// Writes another configuration and loads it, where it is read. `routes` are further routes, a line each.
    ///
    /// # Errors
    /// The report of who refuses it.
    pub async fn reload(&self, settings: &str, routes: &str) -> Result<(), String> {
        self.edge.rewrite(&configuration(self.mode, &self.broker, settings, routes));
        self.reload_files().await
    }

    /// Loads the configuration again, as it is.
    ///
    /// # Errors
    /// The report of who refuses it.
    pub async fn reload_files(&self) -> Result<(), String> {
        let of_edge = self.edge.reload().await.map(drop);
        let of_bridge = match &self.bridge {
            None => Ok(()),
            Some(bridge) => {
                let reload = within("a reload of the bridge", bridge.reload()).await;
                reload.map(drop).map_err(|error| error.to_string())
            }
        };
        of_bridge.and(of_edge)
    }

    /// Sends a record of JSON, by its key.
    ///
    /// # Panics
    /// When Kafka does not take it.
    pub async fn produce(&self, topic: &str, key: &str, value: &Value) {
        let value = value.to_string();
        let sent = self.broker.produce(topic, None, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
        within("a record in Kafka", sent).await.expect("a record in Kafka");
    }

    /// A good token of this user.
    pub fn token(&self, user: &str) -> String {
        self.tokens.token().claim("sub", user).sign()
    }

    /// A client of `/live` that has not said anything.
    pub async fn open(&self) -> LiveClient {
        self.open_with(&Upgrade::to("/live")).await
    }

    /// A client with a handshake of its own that has not said anything.
    pub async fn open_with(&self, upgrade: &Upgrade) -> LiveClient {
        LiveClient::new(WebSocketClient::open(self.edge.address("public"), upgrade).await)
    }

    /// A connected client.
    pub async fn client(&self, user: &str) -> LiveClient {
        let mut client = self.open().await;
        client.connect(&self.token(user)).await;
        client
    }

    /// A connected client for which the system keeps little, so that it is soon noticed when it does not read.
    pub async fn slow_client(&self, user: &str) -> LiveClient {
        let mut client = self.open_slowly().await;
        client.connect(&self.token(user)).await;
        client
    }

    /// The same before it has said anything.
    pub async fn open_slowly(&self) -> LiveClient {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(SLOW_BYTES).expect("a small buffer");
        let stream = socket.connect(self.edge.address("public")).await.expect("a connection");
        LiveClient::new(WebSocketClient::over(Box::new(stream), &Upgrade::to("/live")).await)
    }

    /// Sends a handshake that is to be refused.
    pub async fn refused(&self, upgrade: &Upgrade) -> Response {
        let mut client = self.edge.client().await;
        client.send(upgrade.bytes()).await;
        client.response().await
    }

    /// The sum of all samples of a metric of the bridge, wherever it runs.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        if self.bridge.is_none() {
            return self.edge.metric(name, labels).await;
        }
        let text = within("the bridge's metrics", self.ask("/metrics")).await;
        total(&text, name, labels)
    }

    /// Waits until [`LiveEdge::metric`] has this value.
    pub async fn wait_for_metric(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        until(&format!("{name}{labels:?} = {value}"), || async {
            ((self.metric(name, labels).await - value).abs() < 1e-9).then_some(())
        })
        .await;
    }

    /// Asks the bridge's socket as an operator would.
    async fn ask(&self, path: &str) -> String {
        ask(&self.edge.path(SOCKET), path).await
    }

    /// Stops what runs the bridge: the edge it is in, or its own process.
    pub async fn stop_bridge(self) {
        match self.bridge {
            None => self.edge.stop().await,
            Some(bridge) => within("the stop of the bridge", bridge.stop()).await,
        }
    }
}

fn configuration(mode: Mode, broker: &EmbeddedBroker, settings: &str, routes: &str) -> String {
    let socket = match mode {
        Mode::Embedded => String::new(),
        Mode::Separate => format!("  socket: {SOCKET}\n"),
    };
    let address = broker.address();
    format!(
        r#"
process: {{ access_log: access.log, watch: false, drain: 2s }}
issuers:
  main:
    issuer: "https://id.test/"
    audiences: [platform]
    algorithms: [ES256]
    jwks: {{ file: jwks.json }}
    revocations: {{ file: revoked.json }}
kafka:
  main: {{ brokers: ["{address}"] }}
ws_bridge:
{socket}{settings}
routes:
  - {{ name: live, match: /live, public: true, sidecar: ws-bridge }}
  - {{ name: guarded, match: /guarded, filters: [{{ jwt: {{ issuer: main }} }}], sidecar: ws-bridge }}
  - {{ name: cookie, match: /cookie, filters: [{{ jwt: {{ issuer: main, from: [{{ cookie: session }}] }} }}], sidecar: ws-bridge }}
  - {{ name: plain, match: /plain, public: true, respond: {{ body: "plain" }} }}
{routes}"#
    )
}
