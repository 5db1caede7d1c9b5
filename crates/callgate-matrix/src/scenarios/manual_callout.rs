//! A callout without the library, for claims that the library would never write.

use async_nats::Client;
use callgate_testkit::{
    NatsServer,
    requests::jwt::{sign_as_issuer, verified_claims},
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{clients::user_info, observers, site::Site};

/// Answers until it is dropped.
pub(super) struct ManualCallout(JoinHandle<()>);

/// A request, and the keys to answer it.
pub(super) struct CalloutRequest {
    /// The claims of the request.
    pub(super) claims: Value,
    site: Site,
}

impl ManualCallout {
    /// Answers each request with the result of `answer`.
    pub(super) async fn start(
        site: &Site,
        server: &NatsServer,
        answer: impl Fn(&CalloutRequest) -> String + Send + 'static,
    ) -> Self {
        let client = observers::connect(&site.callout, server).await;
        let mut requests = client.subscribe("$SYS.REQ.USER.AUTH").await.expect("a subscription");
        user_info(&client).await.expect("an answer, after which the subscription is known");
        let site = site.clone();
        let work = tokio::spawn(async move {
            while let Some(message) = requests.next().await {
                let token = opened(&site, &message);
                let claims = verified_claims(&token).expect("a request");
                let asked = CalloutRequest { claims, site: site.clone() };
                reply(&client, message.reply, answer(&asked)).await;
            }
        });
        Self(work)
    }
}

impl Drop for ManualCallout {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn reply(client: &Client, to: Option<async_nats::Subject>, answer: String) {
    let to = to.expect("servers wait for an answer");
    client.publish(to, answer.into()).await.expect("a connection");
}

fn opened(site: &Site, message: &async_nats::Message) -> String {
    let Some(xkey) = &site.signers.xkey else {
        return String::from_utf8(message.payload.to_vec()).expect("text");
    };
    let headers = message.headers.as_ref().expect("a header");
    let sender = headers.get("Nats-Server-Xkey").expect("the server's key").as_str();
    let key = callgate_testkit::CurveKey::from_seed(xkey.seed());
    let opened = key.open(&message.payload, sender).expect("a box for us");
    String::from_utf8(opened).expect("text")
}

impl CalloutRequest {
    /// The user JWT that admits into APP, with `more` in its `nats` claims.
    pub(super) fn user(&self, more: &Value) -> Value {
        let mut nats = json!({
            "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2,
        });
        nats.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("one"));
        let mut user = json!({
            "iat": self.claims["iat"], "name": "by-hand",
            "sub": self.claims["nats"]["user_nkey"], "nats": nats,
        });
        match self.site.mode.is_operator() {
            true => user["nats"]["issuer_account"] = json!(self.site.accounts["APP"]),
            false => user["aud"] = json!("APP"),
        }
        user
    }

    /// Signs a user JWT with APP's key.
    pub(super) fn signed(&self, user: &Value) -> String {
        sign_as_issuer(user, &self.site.signers.app.nkey())
    }

    /// The answer's claims around a user JWT.
    pub(super) fn answer(&self, jwt: &str) -> Value {
        json!({
            "iat": self.claims["iat"], "sub": self.claims["nats"]["user_nkey"],
            "aud": self.claims["nats"]["server_id"]["id"],
            "nats": { "jwt": jwt, "type": "authorization_response", "version": 2 },
        })
    }

    /// Signs an answer with the issuer's key.
    pub(super) fn sealed(&self, answer: &Value) -> String {
        sign_as_issuer(answer, &self.site.signers.issuer.nkey())
    }

    /// Admits with `more` in the user's claims.
    pub(super) fn admit(&self, more: &Value) -> String {
        self.sealed(&self.answer(&self.signed(&self.user(more))))
    }

    /// Admits under the scoped key `reader`, with these tags.
    pub(super) fn admit_reader(&self, tags: &[&str]) -> String {
        let mut user = self.user(&json!({ "tags": tags }));
        let nats = user["nats"].as_object_mut().expect("an object");
        nats.retain(|claim, _| !["subs", "data", "payload"].contains(&claim.as_str()));
        self.sealed(&self.answer(&sign_as_issuer(&user, &self.site.signers.reader.nkey())))
    }

    /// The user name that the client sent.
    pub(super) fn user_name(&self) -> &str {
        self.claims["nats"]["connect_opts"]["user"].as_str().unwrap_or_default()
    }
}
