//! A fault: its name, how it is played, and the story.

use std::{any::Any, future::Future, io::Write, panic::AssertUnwindSafe, pin::Pin};

use futures_util::FutureExt;

use crate::report::{Outcome, Row, Seen};

/// Why this machine cannot play a fault.
#[derive(Debug)]
pub struct NotRun(pub String);

type Story = Pin<Box<dyn Future<Output = Result<Seen, NotRun>>>>;

/// One fault.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// What it is about.
    pub family: &'static str,
    /// What breaks.
    pub name: &'static str,
    /// With which parts it is played.
    pub how: &'static str,
    /// The story; it panics if a promise is broken.
    pub story: fn() -> Story,
}

impl Fault {
    /// Plays it; a panic is its failure and of no other.
    pub async fn play(&self) -> Row {
        let outcome = match AssertUnwindSafe((self.story)()).catch_unwind().await {
            Ok(Ok(seen)) => Outcome::Held(seen),
            Ok(Err(NotRun(reason))) => Outcome::NotRun { reason },
            Err(panic) => Outcome::Failed { reason: message(panic.as_ref()) },
        };
        Row { family: self.family, fault: self.name, how: self.how, outcome }
    }

    /// Plays it in a test: fails with it, and says loudly if it could not be played.
    ///
    /// # Panics
    /// If a promise is broken.
    pub async fn holds(&self) {
        match (self.story)().await {
            Ok(seen) => eprintln!("{}: {seen:?}", self.name),
            Err(NotRun(reason)) => {
                // Past the capture of `cargo test`, which shows nothing of a test that passes.
                let said = format!("NOT RUN: {} · {}: {reason}\n", self.family, self.name);
                std::io::stderr().write_all(said.as_bytes()).expect("stderr can be written");
            }
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic without a text".to_owned())
}
