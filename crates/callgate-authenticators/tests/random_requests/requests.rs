//! Random requests: good, corrupted and hostile ones, and noise.

use std::time::Duration;

use callgate_testkit::{
    CurveKey, Nkey, RequestBuilder, SignedRequest,
    requests::{FIELDS, jwt},
};
use serde_json::{Value, json};

use crate::{
    dice::Dice,
    world::{CANARY, NOW, World},
};

/// The expected decision about a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected {
    Admitted,
    NotAdmitted,
    Dropped,
    Anything,
}

/// A message, and what is needed to check its decision.
pub(crate) struct Sent {
    pub(crate) payload: Vec<u8>,
    pub(crate) header: Option<String>,
    pub(crate) expected: Expected,
    /// Absent if no server could have sent it.
    pub(crate) request: Option<SignedRequest>,
    pub(crate) patience: Duration,
}

/// Servers and clients.
pub(crate) struct Players {
    issuer: String,
    xkey: String,
    servers: Vec<(Nkey, CurveKey)>,
    robot: Nkey,
    stranger: Nkey,
    /// A token of `svc`.
    token: String,
    bad_tokens: Vec<String>,
}

impl Players {
    pub(crate) fn new(world: &World) -> Self {
        let claims = |sub: &str, ends: i64| json!({ "sub": sub, "iss": world.service.public(), "iat": NOW, "exp": NOW + ends });
        let header = |alg: &str| jwt::Header(json!({ "typ": "JWT", "alg": alg }));
        let sign = |alg: &str, claims: Value, key: &Nkey| jwt::sign(&header(alg), &claims, key);
        let good = sign("EdDSA", claims("svc", 60), &world.service);
        let stranger = Nkey::user();
        let bad_tokens = vec![
            sign("none", claims("svc", 60), &world.service),
            sign("EdDSA", claims("alice", 60), &world.service),
            sign("EdDSA", claims("svc", -60), &world.service),
            sign("EdDSA", claims("svc", 999_999), &world.service),
            sign("EdDSA", claims("svc", 60), &stranger),
            good.rsplit_once('.').unwrap().0.to_owned() + ".",
            CANARY.to_owned(),
            ".".repeat(5_000),
            "eyJ".repeat(9_000) + ".e30.AA",
        ];
        Self {
            issuer: world.issuer.public(),
            xkey: world.xkey.public(),
            servers: (0..16).map(|_| (Nkey::server(), CurveKey::generate())).collect(),
            robot: world.robot.clone(),
            stranger,
            token: good,
            bad_tokens,
        }
    }

    /// The next request.
    pub(crate) fn request(&self, dice: &mut Dice) -> Sent {
        let (server, curve) = dice.one_of(&self.servers);
        let builder = RequestBuilder::new(&self.issuer, NOW)
            .server(server)
            .server_curve(curve)
            .sealed_for(&self.xkey);
        match dice.below(10) {
            0 | 1 => sent(self.good(builder, dice).build(), Expected::Admitted),
            2 => sent(self.wrong(builder, dice).build(), Expected::NotAdmitted),
            3 => self.misdirected(builder, dice),
            4 | 5 => corrupted(self.good(builder, dice).build(), dice),
            6 | 7 => {
                let changes = 1 + dice.below(3);
                let mut builder = self.good(builder, dice);
                for _ in 0..changes {
                    let (field, value) = (*dice.one_of(&FIELDS), json_value(dice, 3));
                    builder = builder.replace(field, value);
                }
                sent(builder.build(), Expected::Anything)
            }
            8 => sent(hostile(builder, dice).build(), Expected::NotAdmitted),
            _ => noise(dice),
        }
    }

    fn good(&self, builder: RequestBuilder, dice: &mut Dice) -> RequestBuilder {
        match dice.below(8) {
            0 => builder.token(&self.token),
            1 => builder.password("x", &self.token).client_type("mqtt"),
            2 => builder.nonce("a-nonce-of-a-server").nkey(&self.robot),
            3 => builder.password("hashed", "right"),
            _ => builder.password("alice", CANARY).client_type("websocket"),
        }
    }

    fn wrong(&self, builder: RequestBuilder, dice: &mut Dice) -> RequestBuilder {
        let users = ["alice", "hashed", "unknown", "boom", "hang", "yield", "anonymous", "off"];
        match dice.below(8) {
            0 => builder,
            1 => builder.token(dice.one_of::<String>(&self.bad_tokens)),
            2 => builder.password("alice", CANARY).token(&self.token),
            3 => builder.nkey(&self.stranger),
            4 => builder.nkey(&self.robot).connect("sig", "AAAA"),
            5 => builder.password("alice", CANARY).leaf_node(),
            6 => builder.password(dice.one_of::<&str>(&["homeless", "badly.named"]), CANARY),
            _ => builder.password(dice.one_of::<&str>(&users), &(CANARY.to_owned() + "!")),
        }
    }

    /// Not from a server, not for this callout, or not at this time.
    fn misdirected(&self, builder: RequestBuilder, dice: &mut Dice) -> Sent {
        let builder = builder.password("alice", CANARY);
        let (server, curve) = dice.one_of(&self.servers);
        let plaintext = RequestBuilder::new(&self.issuer, NOW).server(server).server_curve(curve);
        let builder = match dice.below(9) {
            0 => builder.corrupt_signature(),
            1 => builder.signed_by(&self.stranger),
            2 => builder.audience("nats-authorization-response"),
            3 => builder.subject(&self.stranger.public()),
            4 => builder.issued_at(NOW - 4_000).expires_at(NOW - 3_998),
            5 => builder.expires_at(NOW - 1),
            6 => builder.xkey_header(None),
            7 => plaintext.password("alice", CANARY),
            _ => plaintext.sealed_for(&curve.public()).password("alice", CANARY),
        };
        sent(builder.build(), Expected::Dropped)
    }
}

fn sent(request: SignedRequest, expected: Expected) -> Sent {
    let number = |name: &str| request.claims[name].as_i64().unwrap_or(NOW);
    let patience = number("exp").saturating_sub(number("iat")).clamp(2, 300);
    Sent {
        payload: request.payload.clone(),
        header: request.xkey_header.clone(),
        expected,
        patience: Duration::from_secs(u64::try_from(patience).unwrap()),
        request: Some(request),
    }
}

/// A request whose bytes changed after the server sealed it.
fn corrupted(request: SignedRequest, dice: &mut Dice) -> Sent {
    let mut payload = request.payload.clone();
    let place = dice.below(payload.len());
    match dice.below(4) {
        0 => payload[place] ^= 1 << dice.below(8),
        1 => payload.truncate(place),
        2 => payload.insert(place, dice.next().to_le_bytes()[0]),
        _ => payload.extend(dice.bytes(40)),
    }
    let expected = match payload == request.payload {
        true => Expected::Admitted,
        false => Expected::Dropped,
    };
    Sent { payload, ..sent(request, expected) }
}

/// Credentials with unusual characters and sizes.
fn hostile(builder: RequestBuilder, dice: &mut Dice) -> RequestBuilder {
    let user = match dice.below(4) {
        0 => ">".to_owned(),
        1 => "alice\0".to_owned(),
        2 => "a".repeat(1 << dice.below(17)),
        _ => format!("{}x", dice.text(60)),
    };
    let secret = dice.text(40) + CANARY + "?";
    match dice.below(5) {
        0 => builder.password(&user, &secret),
        1 => builder.token(&secret).client("name", user),
        2 => builder.connect("nkey", user).connect("sig", secret),
        3 => builder.jwt(&format!("eyJ{secret}.{user}.x")),
        _ => builder.password(&user, &secret).client("host", dice.text(30)).client("type", user),
    }
}

fn noise(dice: &mut Dice) -> Sent {
    let mut payload = dice.bytes(600);
    if dice.below(2) == 0 {
        payload.splice(0..0, *b"xkv1");
    }
    let header = (dice.below(2) == 0).then(|| dice.text(60));
    let patience = Duration::from_secs(2);
    Sent { payload, header, expected: Expected::Dropped, request: None, patience }
}

fn json_value(dice: &mut Dice, depth: usize) -> Value {
    match dice.below(if depth == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => (dice.below(2) == 0).into(),
        2 => dice.next().cast_signed().into(),
        3 => json!(f64::from_bits(dice.next())),
        4 => (NOW + i64::try_from(dice.below(400)).unwrap() - 200).into(),
        5 => dice.text(40).into(),
        6 => (0..dice.below(4)).map(|_| json_value(dice, depth - 1)).collect(),
        _ => (0..dice.below(4)).map(|_| (dice.text(8), json_value(dice, depth - 1))).collect(),
    }
}
