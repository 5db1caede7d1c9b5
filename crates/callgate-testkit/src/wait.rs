//! Waits for a condition with a deadline, instead of sleeping.

use std::time::Duration;

use tokio::time::Instant;

/// How long a test waits for something that should happen immediately.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long a test waits for something slow: pauses in the product, such as ten seconds between key
/// fetches, or a busy machine.
pub const LONG: Duration = Duration::from_secs(90);

const INTERVAL: Duration = Duration::from_millis(10);

/// Calls `attempt` until it returns a value, and returns that value.
///
/// # Panics
/// With `description` after `deadline`; a running attempt is abandoned.
pub async fn eventually<T>(
    description: &str,
    deadline: Duration,
    mut attempt: impl AsyncFnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        match tokio::time::timeout_at(end, attempt()).await {
            Ok(Some(value)) => return value,
            Ok(None) if Instant::now() < end => tokio::time::sleep(INTERVAL).await,
            Ok(None) | Err(_) => panic!("gave up after {deadline:?} waiting for: {description}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(30);

    #[tokio::test]
    async fn first_value_ends_the_wait() {
        let mut attempts = 0;
        let seen = eventually("a third attempt", PATIENCE, async || {
            attempts += 1;
            (attempts == 3).then_some("there")
        })
        .await;
        assert_eq!((seen, attempts), ("there", 3));
    }

    #[tokio::test]
    #[should_panic(expected = "gave up after 30ms waiting for: a value that never comes")]
    async fn missing_value_fails_with_its_description() {
        eventually::<()>("a value that never comes", SHORT, async || None).await;
    }

    #[tokio::test]
    #[should_panic(expected = "waiting for: an attempt that hangs")]
    async fn hanging_attempt_ends_at_the_deadline() {
        eventually::<()>("an attempt that hangs", SHORT, async || std::future::pending().await)
            .await;
    }
}
