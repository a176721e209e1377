//! The bridge of a process: the one that runs, until a changed configuration makes another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::StatusCode;
use prometheus::Registry;
use sallyport_sidecar::{Operations, Refusal};
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::bridge::{Bridge, BridgeMetrics, StartError};
use crate::connection::Ended;
use crate::hello::{Hello, Stream};
use crate::plan::Plan;
use crate::server::{Carry, EventStream, EventsRequest, Service};

/// How long a new bridge may read before it takes over.
const READY_MAX: Duration = Duration::from_secs(5);
/// How often it is looked at meanwhile.
const READY_PAUSE: Duration = Duration::from_millis(20);

/// The bridge of a process.
pub struct Host {
    bridge: ArcSwap<Bridge>,
    metrics: BridgeMetrics,
    registry: Registry,
}

impl Host {
    /// Starts a bridge on the Tokio runtime this is called in; its metrics are registered in `registry`,
    /// where those of Kafka are already.
    ///
    /// # Errors
    /// A Kafka client cannot be made, or the metrics are registered already.
    pub fn start(
        plan: Arc<Plan>,
        registry: Registry,
        kafka: &sallyport_kafka::Metrics,
    ) -> Result<Arc<Host>, StartError> {
        let metrics = BridgeMetrics::register(&registry, kafka)?;
        let bridge = ArcSwap::from_pointee(Bridge::start(plan, &metrics)?);
        Ok(Arc::new(Host { bridge, metrics, registry }))
    }

    /// Puts another plan into force, unless it says the same, as soon as the new bridge has read what there is, or after
    /// five seconds. The clients of the bridge before are asked to connect again, spread over `drain`, and recover what
    /// they miss. Whether there is a new bridge.
    ///
    /// # Errors
    /// A Kafka client cannot be made; the bridge stays.
    pub async fn replace(&self, plan: Arc<Plan>, drain: Duration) -> Result<bool, StartError> {
        if self.bridge.load().has_plan(&plan) {
            return Ok(false);
        }
        let next = Arc::new(Bridge::start(plan, &self.metrics)?);
        let deadline = Instant::now() + READY_MAX;
        while !next.is_ready() && Instant::now() < deadline {
            tokio::time::sleep(READY_PAUSE).await;
        }
        let before = self.bridge.swap(next);
        tokio::spawn(async move { before.stop(drain).await });
        Ok(true)
    }

    /// See [`Bridge::carry`].
    pub fn carry<S: Stream>(
        &self,
        stream: S,
        early: &[u8],
        hello: Hello,
    ) -> impl Future<Output = Ended> + Send + use<S> {
        self.bridge.load().carry(stream, early, hello)
    }

    /// See [`Bridge::status`].
    pub fn status(&self) -> Value {
        self.bridge.load().status()
    }

    /// See [`Bridge::is_ready`].
    pub fn is_ready(&self) -> bool {
        self.bridge.load().is_ready()
    }

    /// See [`Bridge::stop`].
    pub async fn stop(&self, drain: Duration) {
        self.bridge.load_full().stop(drain).await;
    }
}

impl Service for Arc<Host> {
    fn websocket(&self, hello: Hello) -> Result<Carry, Refusal> {
        if self.bridge.load().is_full() {
            let detail = "there are as many connections as there may be";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail));
        }
        let host = self.clone();
        Ok(Box::new(move |stream: UnixStream, early: Bytes| {
            tokio::spawn(host.carry(stream, &early, hello));
        }))
    }

    fn events(&self, request: EventsRequest) -> Result<EventStream, Refusal> {
        crate::events::open(&self.bridge.load().shared, request)
    }
}

impl Operations for Host {
    fn healthy(&self) -> (bool, Value) {
        (true, json!({"status": "up"}))
    }

    fn ready(&self) -> (bool, Value) {
        (self.is_ready(), self.status())
    }

    fn metrics(&self) -> String {
        sallyport_sidecar::exposition(&self.registry)
    }
}
