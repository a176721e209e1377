//! An aggregator of a story, in one of its two places, with the edge in front of it.

use sallyport_aggregator::Serving;
use serde_json::Value;

use crate::client::Client;
use crate::edge::{EdgeUnderTest, ask, total};
use crate::mode::Mode;
use crate::response::Response;
use crate::tokens::Tokens;
use crate::wait::{until, within};

const SOCKET: &str = "aggregator.sock";

/// An edge and an aggregator.
pub struct ComposedEdge {
    /// The edge.
    pub edge: EdgeUnderTest,
    /// The issuer `main`. A route asks for its tokens with `filters: [{ jwt: { issuer: main } }]`.
    pub tokens: Tokens,
    mode: Mode,
    aggregator: Option<Serving>,
}

impl ComposedEdge {
    /// Starts both. `yaml` is the configuration without `aggregator` and `issuers`; `settings` are lines of the section
    /// `aggregator`, indented by two.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn start(mode: Mode, settings: &str, yaml: &str) -> Self {
        let started = ComposedEdge::try_start(mode, settings, yaml).await;
        started.unwrap_or_else(|error| panic!("this did not start:\n{error}"))
    }

    /// Starts both, see [`ComposedEdge::start`].
    ///
    /// # Errors
    /// What the edge, or the aggregator of a process of its own, says of why it does not start.
    pub async fn try_start(mode: Mode, settings: &str, yaml: &str) -> Result<Self, String> {
        let tokens = Tokens::new("https://id.test/", "platform");
        let edge = EdgeUnderTest::builder()
            .file("jwks.json", tokens.jwks().to_string())
            .try_start(&configuration(mode, settings, yaml))
            .await?;
        let mut composed = ComposedEdge { edge, tokens, mode, aggregator: None };
        composed.try_start_aggregator().await?;
        Ok(composed)
    }

    /// Starts an aggregator of its own process again, after [`ComposedEdge::stop_aggregator`].
    pub async fn start_aggregator(&mut self) {
        let started = self.try_start_aggregator().await;
        started.unwrap_or_else(|error| panic!("the aggregator did not start:\n{error}"));
    }

    async fn try_start_aggregator(&mut self) -> Result<(), String> {
        if self.mode == Mode::Separate {
            let path = self.edge.path("routes.yaml");
            let serving = within("the start of the aggregator", sallyport_aggregator::serve(&path)).await;
            self.aggregator = Some(serving.map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    /// Stops both, gracefully.
    pub async fn stop(mut self) {
        self.stop_aggregator().await;
        self.edge.stop().await;
    }

    /// Stops an aggregator of its own process; the edge stays. Nothing where it runs inside the edge.
    pub async fn stop_aggregator(&mut self) {
        if let Some(serving) = self.aggregator.take() {
            within("the stop of the aggregator", serving.stop()).await;
        }
    }

    /// Writes another configuration and loads it, where it is read.
    ///
    /// # Errors
    /// The report of who refuses it.
    pub async fn reload(&self, settings: &str, yaml: &str) -> Result<(), String> {
        self.edge.rewrite(&configuration(self.mode, settings, yaml));
        let of_aggregator = match &self.aggregator {
            None => Ok(()),
            Some(aggregator) => {
                let reload = within("a reload of the aggregator", aggregator.reload()).await;
                reload.map(drop).map_err(|error| error.to_string())
            }
        };
        of_aggregator.and(self.edge.reload().await.map(drop))
    }

    /// Writes another configuration and loads it into the edge alone: an aggregator of its own process keeps the one it has.
    ///
    /// # Errors
    /// The edge's report.
    pub async fn reload_edge(&self, settings: &str, yaml: &str) -> Result<(), String> {
        self.edge.rewrite(&configuration(self.mode, settings, yaml));
        self.edge.reload().await.map(drop)
    }

    /// A good token of this user.
    pub fn token(&self, user: &str) -> String {
        self.tokens.token().claim("sub", user).sign()
    }

    /// A GET without a token, on a connection of its own.
    pub async fn get(&self, target: &str) -> Response {
        self.edge.get(target).await
    }

    /// A GET with a token of this user, on a connection of its own.
    pub async fn get_as(&self, user: &str, target: &str) -> Response {
        let mut client: Client = self.edge.client().await;
        client.get(target).bearer(&self.token(user)).send().await
    }

    /// How the views are, as an operator asks: on the admin listener, or on the socket of an aggregator of its own.
    pub async fn views(&self) -> Value {
        if self.aggregator.is_none() {
            return self.edge.admin("GET", "/views").await.expect(200).json()["views"].take();
        }
        let answer = within("the aggregator's views", self.ask("/readyz")).await;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let mut status: Value =
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
        status["views"].take()
    }

    /// The sum of all samples of a metric of the aggregator, wherever it runs.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        if self.aggregator.is_none() {
            return self.edge.metric(name, labels).await;
        }
        let text = within("the aggregator's metrics", self.ask("/metrics")).await;
        total(&text, name, labels)
    }

    /// Waits until [`ComposedEdge::metric`] has this value.
    pub async fn wait_for_metric(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        until(&format!("{name}{labels:?} = {value}"), || async {
            ((self.metric(name, labels).await - value).abs() < 1e-9).then_some(())
        })
        .await;
    }

    /// Asks the aggregator's socket as an operator would; only of one that is a process of its own.
    pub async fn ask(&self, path: &str) -> String {
        ask(&self.edge.path(SOCKET), path).await
    }
}

fn configuration(mode: Mode, settings: &str, yaml: &str) -> String {
    let socket = match mode {
        Mode::Embedded => String::new(),
        Mode::Separate => format!("  socket: {SOCKET}\n"),
    };
    let section = if socket.is_empty() && settings.is_empty() {
        String::new()
    } else {
        format!("aggregator:\n{socket}{settings}\n")
    };
    format!(
        r#"
issuers:
  main:
    issuer: "https://id.test/"
    audiences: [platform]
    algorithms: [ES256]
    jwks: {{ file: jwks.json }}
{section}{yaml}"#
    )
}
