//! Moments as numbers that fit into an atomic: milliseconds of this process. Only this crate uses them.

use std::sync::LazyLock;
use std::time::Instant;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds from the first use of this clock to `at`, plus one: 0 is free to mean "never". Moments before the
/// first use count as that use.
pub(crate) fn millis(at: Instant) -> u64 {
    let passed = at.saturating_duration_since(*START).as_millis();
    u64::try_from(passed).unwrap_or(u64::MAX - 1).saturating_add(1)
}
