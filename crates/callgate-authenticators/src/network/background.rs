//! Work that goes on as long as its owner exists.

use std::time::Duration;

use tokio::{runtime::Handle, task::AbortHandle, time::sleep};

/// Tasks that end when this is dropped.
#[derive(Debug)]
pub(crate) struct BackgroundTasks(Vec<AbortHandle>);

impl BackgroundTasks {
    /// Spawns the tasks on the caller's runtime. Does nothing unless `enabled`, or without a runtime.
    pub(crate) fn spawn<F>(enabled: bool, tasks: impl IntoIterator<Item = F>) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match Handle::try_current() {
            Ok(runtime) if enabled => {
                Self(tasks.into_iter().map(|task| runtime.spawn(task).abort_handle()).collect())
            }
            Ok(_) | Err(_) => Self(Vec::new()),
        }
    }

    /// Does `work` again and again, after this time.
    pub(crate) fn every(
        enabled: bool,
        interval: Duration,
        work: impl Fn() + Send + 'static,
    ) -> Self {
        let task = async move {
            loop {
                sleep(interval).await;
                work();
            }
        };
        Self::spawn(enabled, [task])
    }

    #[cfg(feature = "kubernetes")]
    pub(crate) fn are_running(&self) -> bool {
        !self.0.is_empty()
    }
}

impl Drop for BackgroundTasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}
