//! Gates over bytes, with the keys of the golden requests (crates/callgate/tests/vectors).

use std::{
    cell::RefCell,
    sync::{Arc, Mutex},
};

use callgate::{
    Callgate, Reply, User,
    clock::UnixTime,
    keys::{AccountSigner, CurveKey},
    record::{Decision, Outcome},
};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

const VECTORS: &str =
    include_str!("../../crates/callgate/tests/vectors/requests-2.15.1-configuration-sealed.json");

/// A callout that admits exactly one credential.
pub struct Gate {
    callout: Callgate,
    decisions: Arc<Mutex<Vec<Decision>>>,
}

/// The keys of the golden requests: issuer and xkey.
pub struct Keys {
    pub issuer_seed: String,
    pub issuer: String,
    pub xkey_seed: String,
    pub xkey: String,
}

impl Keys {
    pub fn golden() -> Self {
        let file: Value = serde_json::from_str(VECTORS).unwrap();
        let text = |key: &str, field: &str| file[key][field].as_str().unwrap().to_owned();
        Self {
            issuer_seed: text("issuer", "seed"),
            issuer: text("issuer", "public"),
            xkey_seed: text("xkey", "seed"),
            xkey: text("xkey", "public"),
        }
    }
}

impl Gate {
    pub fn new(with_xkey: bool) -> Self {
        let keys = Keys::golden();
        let decisions = Arc::<Mutex<Vec<Decision>>>::default();
        let record = Arc::clone(&decisions);
        let signer = AccountSigner::from_seed(&keys.issuer_seed.into()).unwrap();
        let mut builder = Callgate::builder(signer)
            .authorize(|_| async { Ok(User::in_account("APP").publish("orders.>")) })
            .on_decision(move |decision| record.lock().unwrap().push(decision.clone()));
        if with_xkey {
            builder = builder.xkey(CurveKey::from_seed(&keys.xkey_seed.into()).unwrap());
        }
        Self { callout: builder.build().unwrap(), decisions }
    }

    /// What becomes of a message, whether or not it was handled before; there must be one decision, and no answer to what is dropped.
    pub fn handle(&self, payload: &[u8], header: Option<&str>, now: i64) -> (Reply, Decision) {
        self.callout.forget_requests();
        let reply = block_on(self.callout.handle(payload, header, UnixTime::from_seconds(now)));
        let mut decisions = std::mem::take(&mut *self.decisions.lock().unwrap());
        assert_eq!(decisions.len(), 1, "one decision for each message: {decisions:?}");
        let decision = decisions.remove(0);
        assert_eq!(reply == Reply::Silent, decision.outcome() == Outcome::Dropped, "{decision:?}");
        assert_eq!(decision.account.is_some(), decision.outcome() == Outcome::Admitted);
        (reply, decision)
    }

    /// When the request says that it was made.
    pub fn request_time(&self, payload: &[u8], header: Option<&str>) -> Option<i64> {
        self.callout.request_time(payload, header).ok().map(UnixTime::seconds)
    }
}

/// Runs a future to its end.
pub fn block_on<F: Future>(future: F) -> F::Output {
    thread_local! {
        static RUNTIME: RefCell<Runtime> =
            RefCell::new(Builder::new_current_thread().enable_all().build().unwrap());
    }
    RUNTIME.with_borrow(|runtime| runtime.block_on(future))
}
