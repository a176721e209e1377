//! The upstream's background task: resolving names and asking targets whether they are well.

use std::future::Future;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;

use sallyport_config::upstream::Health;
use sallyport_identity::fetch::{FetchError, Fetcher, Limits, spread};
use tokio::sync::watch;

use crate::Upstream;
use crate::target::Target;

/// The largest answer to a health check that is read, in bytes; only its status counts.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How soon an upstream without any address tries to resolve its names again, at most.
const UNRESOLVED_RETRY: Duration = Duration::from_secs(1);

impl Upstream {
    /// The upstream's background work: names at once and every `resolve`, health checks every `interval`, spread
    /// over the interval. Ends when `stop` turns true or its sender is gone; at its next turn when no plan holds the
    /// upstream any more; at once when there is neither a name nor a health check. A second call for the same upstream ends at once, so it may be made on every reload.
    pub fn tend(
        self: &Arc<Self>,
        fetcher: Arc<Fetcher>,
        mut stop: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let first = !self.tended.swap(true, Relaxed);
        let upstream = Arc::downgrade(self);
        async move {
            if !first {
                return;
            }
            let work = futures::future::join(resolve_all(upstream.clone()), check_all(upstream, fetcher));
            tokio::select! {
                _ = work => {}
                // An error means that the sender is gone, which is a stop as well.
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Asks one target whether it is well and takes note of the answer.
    pub(crate) async fn check(&self, target: &Target, health: &Health, fetcher: &Fetcher) {
        let mut peer = target.template.clone();
        peer.options.connection_timeout = Some(*health.timeout);
        // Checks have no deadline of their own on the connection: the whole check has one.
        peer.options.custom_l4 = None;
        // One stream a connection, so that the connection is not kept for others and closes with the check.
        peer.options.max_h2_streams = 1;
        let host = match &self.host {
            crate::Host::Fixed(name) => name,
            _ => &target.host,
        };
        let limits = Limits { timeout: *health.timeout, body_bytes_max: ANSWER_BYTES_MAX };
        let answer = fetcher.get_from(&peer, host, &health.path, &target.name, limits).await;
        let well = match &answer {
            Ok(fetched) => fetched.status.is_success(),
            // A long answer with a good status is good.
            Err(FetchError::TooLarge { status, .. }) => status.is_success(),
            Err(_) => false,
        };
        if self.judge(target, health, well) {
            let name = self.name();
            match answer {
                _ if well => log::info!(
                    "upstream `{name}`: target {} at {} is well again",
                    target.name,
                    target.address
                ),
                Ok(fetched) => log::warn!(
                    "upstream `{name}`: target {} at {} is left out: its health check answers {}",
                    target.name,
                    target.address,
                    fetched.status
                ),
                Err(error) => log::warn!(
                    "upstream `{name}`: target {} at {} is left out: its health check fails: {error}",
                    target.name,
                    target.address
                ),
            }
        }
    }

    /// Takes note of a check. Whether the target's health has changed by it.
    pub(crate) fn judge(&self, target: &Target, health: &Health, well: bool) -> bool {
        if well == target.healthy() {
            target.contrary_checks.store(0, Relaxed);
            return false;
        }
        let contrary = target.contrary_checks.fetch_add(1, Relaxed).saturating_add(1);
        let enough = if well { health.healthy_after } else { health.unhealthy_after };
        if contrary < enough.max(1) {
            return false;
        }
        target.contrary_checks.store(0, Relaxed);
        target.unhealthy.store(!well, Relaxed);
        if well {
            // The operator's check says that it is well: ejection, the weaker evidence, ends too.
            target.failures.store(0, Relaxed);
            target.ejected_until.store(0, Relaxed);
        }
        true
    }
}

async fn resolve_all(upstream: Weak<Upstream>) {
    loop {
        let Some(held) = upstream.upgrade().filter(|held| held.has_names()) else { return };
        held.resolve_now().await;
        let period = *held.settings.resolve;
        let period = if held.ready() { period } else { period.min(UNRESOLVED_RETRY) };
        drop(held);
        tokio::time::sleep(spread(period.max(Duration::from_millis(100)))).await;
    }
}

async fn check_all(upstream: Weak<Upstream>, fetcher: Arc<Fetcher>) {
    loop {
        let Some(held) = upstream.upgrade() else { return };
        let Some(health) = held.settings.health.clone() else { return };
        let interval = (*health.interval).max(Duration::from_millis(100));
        let round = tokio::time::sleep(spread(interval));
        let targets = held.board.load_full();
        // The round holds the upstream no longer than each check: a dropped one ends with its last check.
        let held = Arc::downgrade(&held);
        let count = targets.targets.len().max(1) as u32;
        let checks = targets.targets.iter().zip(0_u32..).map(|(target, index)| {
            let (held, health, fetcher) = (&held, &health, &fetcher);
            async move {
                tokio::time::sleep(interval / count * index).await;
                if let Some(upstream) = held.upgrade() {
                    upstream.check(target, health, fetcher).await;
                }
            }
        });
        futures::future::join(round, futures::future::join_all(checks)).await;
    }
}
