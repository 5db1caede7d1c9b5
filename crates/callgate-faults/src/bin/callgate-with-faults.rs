//! The stock service with authenticators that misbehave: one panics, one stops the event loop.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use callgate::{
    authn::{Authenticator, Decline, Identity},
    request::{AuthRequest, Credential},
};
use callgate_authenticators::kind::{BuildContext, Kind, Registry};
use callgate_config::Table;
use futures_util::future::{BoxFuture, FutureExt, ready};

fn main() -> ExitCode {
    callgate_server::run(Registry::builtin().with(FaultyKind("panics")).with(FaultyKind("blocks")))
}

#[derive(Debug)]
struct FaultyKind(&'static str);

impl Kind for FaultyKind {
    fn name(&self) -> &'static str {
        self.0
    }

    fn build(&self, _: &BuildContext, table: Table<'_>) -> Option<Arc<dyn Authenticator>> {
        table.finish().then(|| {
            let asked = AtomicUsize::new(0);
            Arc::new(Faulty { kind: self.0, asked }) as Arc<dyn Authenticator>
        })
    }
}

#[derive(Debug)]
struct Faulty {
    kind: &'static str,
    asked: AtomicUsize,
}

/// Takes tokens that begin with the kind's name, and misbehaves over every one of them.
impl Authenticator for Faulty {
    fn authenticate<'a>(
        &'a self,
        request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        let mine = match request.credential() {
            Credential::Token(token) => token.expose().starts_with(self.kind),
            _ => false,
        };
        if !mine {
            return ready(Err(Decline::NotMine)).boxed();
        }
        match (self.kind, self.asked.fetch_add(1, Ordering::Relaxed) % 2) {
            #[expect(clippy::panic, reason = "the fault that is played")]
            ("panics", 0) => panic!("this authenticator panics before its first await"),
            #[expect(clippy::panic, reason = "the fault that is played")]
            ("panics", _) => async { panic!("this authenticator panics in its future") }.boxed(),
            _ => {
                // Blocks the thread of the event loop, not only this task.
                std::thread::sleep(Duration::from_secs(30));
                ready(Err(Decline::NotMine)).boxed()
            }
        }
    }
}
