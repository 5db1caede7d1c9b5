//! A fault: its name, its method, and the code that plays it.

use std::{any::Any, future::Future, io::Write, panic::AssertUnwindSafe, pin::Pin};

use futures_util::FutureExt;

use crate::report::{Observations, Outcome, Row};

/// Why this machine cannot play a fault.
#[derive(Debug)]
pub struct NotRun(pub String);

type Story = Pin<Box<dyn Future<Output = Result<Observations, NotRun>>>>;

/// One fault.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// The family it belongs to.
    pub family: &'static str,
    /// What breaks.
    pub name: &'static str,
    /// How it is played.
    pub how: &'static str,
    /// Plays it; panics if a promise is broken.
    pub story: fn() -> Story,
}

impl Fault {
    /// Plays it. A panic fails this fault only.
    pub async fn play(&self) -> Row {
        let outcome = match AssertUnwindSafe((self.story)()).catch_unwind().await {
            Ok(Ok(seen)) => Outcome::Held(seen),
            Ok(Err(NotRun(reason))) => Outcome::NotRun { reason },
            Err(panic) => Outcome::Failed { reason: message(panic.as_ref()) },
        };
        Row {
            family: self.family.to_owned(),
            fault: self.name.to_owned(),
            how: self.how.to_owned(),
            outcome,
        }
    }

    /// Plays it in a test, and prints if it cannot be played.
    ///
    /// # Panics
    /// If a promise is broken.
    pub async fn holds(&self) {
        match (self.story)().await {
            Ok(seen) => eprintln!("{}: {seen:?}", self.name),
            Err(NotRun(reason)) => {
                // Bypasses the capture of `cargo test`, which hides the output of a passing test.
                let message = format!("NOT RUN: {} · {}: {reason}\n", self.family, self.name);
                std::io::stderr().write_all(message.as_bytes()).expect("stderr is writable");
            }
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic without a message".to_owned())
}
