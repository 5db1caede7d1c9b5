//! An issuer without Node.js: a discovery document, a key set, and signed tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::front::Upstream;
use super::{ALGORITHMS, AUDIENCE, DISCOVERY, KEYS, SigningKey};

#[derive(Debug)]
pub(super) struct StandIn {
    issuer: String,
    state: Mutex<State>,
    pages: Arc<Mutex<HashMap<String, String>>>,
}

/// The newest keys come first.
#[derive(Debug, Default)]
struct State {
    generation: u32,
    keys: Vec<SigningKey>,
}

impl StandIn {
    pub(super) fn new(issuer: &str) -> Self {
        let document = json!({ "issuer": issuer, "jwks_uri": format!("{issuer}{KEYS}") });
        let pages = HashMap::from([(DISCOVERY.to_owned(), document.to_string())]);
        let stand_in = StandIn {
            issuer: issuer.to_owned(),
            state: Mutex::default(),
            pages: Arc::new(Mutex::new(pages)),
        };
        stand_in.rotate();
        stand_in
    }

    pub(super) fn upstream(&self) -> Upstream {
        Upstream::Pages(Arc::clone(&self.pages))
    }

    pub(super) fn mint(&self, algorithm: &str, claims: &Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let mut all = json!({
            "iss": self.issuer, "aud": AUDIENCE, "sub": "service", "iat": now, "exp": now + 600,
        });
        let members = all.as_object_mut().expect("an object");
        for (name, value) in claims.as_object().expect("an object") {
            members.insert(name.clone(), value.clone());
        }
        members.retain(|_, value| !value.is_null());
        let state = self.state.lock().expect("no holder panics");
        let key = state.keys.iter().find(|key| key.algorithm() == algorithm);
        key.unwrap_or_else(|| panic!("nothing signs with {algorithm}")).token(&all)
    }

    pub(super) fn rotate(&self) {
        let mut state = self.state.lock().expect("no holder panics");
        state.generation += 1;
        let generation = state.generation;
        let name = |algorithm| format!("{algorithm}-{generation}");
        let fresh = ALGORITHMS.map(|algorithm| SigningKey::generate(&name(algorithm), algorithm));
        state.keys.splice(0..0, fresh);
        self.publish(&state);
    }

    pub(super) fn retire(&self) {
        let mut state = self.state.lock().expect("no holder panics");
        state.keys.truncate(ALGORITHMS.len());
        self.publish(&state);
    }

    fn publish(&self, state: &State) {
        let keys: Vec<Value> = state.keys.iter().map(SigningKey::jwk).collect();
        let text = json!({ "keys": keys }).to_string();
        self.pages.lock().expect("no holder panics").insert(KEYS.to_owned(), text);
    }
}
