//! Waiting for events, bounded.

use std::future::Future;
use std::time::Duration;

/// How long anything may take before a story fails. Generous, because a busy machine is not a defect; nothing is
/// asserted about time.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `event`, at most [`PATIENCE`].
///
/// # Panics
/// When the event does not come; the text names it.
pub async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: did not happen within {PATIENCE:?}"),
    }
}

/// Asks again and again until `probe` answers `Some`, giving way to other tasks in between. For facts that have no
/// event to wait for, such as a line that another thread will write to a file.
///
/// # Panics
/// When [`PATIENCE`] is over; the text names what was waited for.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut probe: impl FnMut() -> F) -> T {
    within(what, async {
        // The pause bounds the cost of asking; the outcome does not depend on its length.
        let mut pause = tokio::time::interval(Duration::from_millis(5));
        loop {
            if let Some(value) = probe().await {
                return value;
            }
            pause.tick().await;
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn until_asks_again() {
        let mut asked = 0;
        let value = until("the third answer", || {
            asked += 1;
            let answer = (asked == 3).then_some(asked);
            async move { answer }
        })
        .await;
        assert_eq!(value, 3);
    }
}
