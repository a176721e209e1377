//! The metrics of all `jwt` filters together.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

pub(super) struct Metrics {
    pub(super) cached: IntCounter,
    pub(super) verified: IntCounter,
    pub(super) missing: IntCounter,
    pub(super) invalid: IntCounter,
    pub(super) forbidden: IntCounter,
    pub(super) unavailable: IntCounter,
    pub(super) remembered: IntGauge,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// Metrics of these names are there already.
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Metrics> {
        let text =
            "Tokens by what became of them: cached, verified, missing, invalid, forbidden, unavailable.";
        let tokens = IntCounterVec::new(Opts::new("sallyport_jwt_tokens_total", text), &["result"])?;
        let remembered = IntGauge::new("sallyport_jwt_tokens_remembered", "Verified tokens in memory.")?;
        registry.register(Box::new(tokens.clone()))?;
        registry.register(Box::new(remembered.clone()))?;
        let result = |result| tokens.with_label_values(&[result]);
        Ok(Metrics {
            cached: result("cached"),
            verified: result("verified"),
            missing: result("missing"),
            invalid: result("invalid"),
            forbidden: result("forbidden"),
            unavailable: result("unavailable"),
            remembered,
        })
    }
}
