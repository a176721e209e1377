//! The process log: lines on standard error, for people. Exchanges have a log of their own, at the edge.

use log::{LevelFilter, Log, Metadata, Record};

struct Stderr;

/// Starts the log. `SALLYPORT_LOG` sets the level: error, warn, info (default), debug, trace.
pub(crate) fn start() {
    let level = std::env::var("SALLYPORT_LOG").ok().and_then(|level| level.parse().ok());
    log::set_max_level(level.unwrap_or(LevelFilter::Info));
    // It fails only if there is a logger already, and this is the only place that sets one.
    let _ = log::set_logger(&Stderr);
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // These report every broken connection; the access log has those, with their exchange. Whatever else is linked
        // in, filters of one's own among it, is heard.
        let noisy = ["pingora", "rustls", "h2", "hyper", "librdkafka", "rdkafka"]
            .iter()
            .any(|name| metadata.target().starts_with(name));
        metadata.level() <= log::max_level() && (!noisy || log::max_level() >= LevelFilter::Debug)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            eprintln!("{:5} {}", record.level().as_str().to_ascii_lowercase(), record.args());
        }
    }

    fn flush(&self) {}
}
