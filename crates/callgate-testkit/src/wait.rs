//! Waiting for a condition with a deadline, in place of sleeping.

use std::time::Duration;

use tokio::time::Instant;

/// How long a test waits for something that ought to happen at once.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long it waits for what has pauses of its own, such as the ten seconds between questions for
/// keys, or needs a machine that others slow down; nothing is asserted about it.
pub const LONG: Duration = Duration::from_secs(90);

const INTERVAL: Duration = Duration::from_millis(10);

/// Asks `attempt` again and again until it gives a value; returns that.
///
/// # Panics
/// With `description` when `deadline` has passed; an attempt under way then is abandoned.
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
    async fn the_first_value_ends_the_wait() {
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
    async fn a_value_that_never_comes_fails_the_test_with_its_description() {
        eventually::<()>("a value that never comes", SHORT, async || None).await;
    }

    #[tokio::test]
    #[should_panic(expected = "waiting for: an attempt that hangs")]
    async fn an_attempt_that_hangs_does_not_outlive_the_deadline() {
        eventually::<()>("an attempt that hangs", SHORT, async || std::future::pending().await)
            .await;
    }
}
