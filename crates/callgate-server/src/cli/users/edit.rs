//! Verbs that change the entry of one user.

use callgate_authenticators::{passwords::hash, users::token_sha256};
use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use qrcode::{QrCode, render::unicode::Dense1x2};
use serde_json::{Value, json};

use super::{
    super::{Outcome, REFUSED, hash_password},
    change::{Draft, unknown},
    target::Users,
};

/// Members that hold a password.
const PASSWORDS: [&str; 3] = ["pass", "password", "password_plain"];
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// Random bytes of the secret of one-time codes: as long as the hash (RFC 4226 section 4).
const TOTP_BYTES: usize = 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate users set alice --account APP --role reader --role writer
  callgate users set robot --nkey UABC… --expires 2027-01-31T18:00:00Z
  callgate users set alice --unset expires

A list replaces the whole list. The user must exist, unless --nkey gives it a credential; `password` and
`token` create one, too.")]
pub(super) struct SetArgs {
    /// Name of the user
    user: String,
    /// Account to place the user in
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Role; repeat it for several
    #[arg(long = "role", value_name = "NAME")]
    roles: Vec<String>,
    /// Subject that the user may publish; repeat it for several
    #[arg(long = "publish", value_name = "SUBJECT")]
    publish: Vec<String>,
    /// Subject that the user may subscribe to; repeat it for several
    #[arg(long = "subscribe", value_name = "SUBJECT")]
    subscribe: Vec<String>,
    /// Public nkey to log in with (U…)
    #[arg(long, value_name = "KEY")]
    nkey: Option<String>,
    /// Network to connect from; repeat it for several
    #[arg(long = "source", value_name = "NETWORK")]
    sources: Vec<String>,
    /// nats, websocket, mqtt or leafnode; repeat it for several
    #[arg(long = "connection-type", value_name = "TYPE")]
    connection_types: Vec<String>,
    /// When the entry expires, such as 2027-01-31T18:00:00Z
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Longest session, such as 8h
    #[arg(long, value_name = "DURATION")]
    expires_after: Option<String>,
    /// Member to remove from the entry, such as `expires`; repeat it for several
    #[arg(long = "unset", value_name = "KEY")]
    unset: Vec<String>,
}

pub(super) async fn set(users: &Users, args: &SetArgs) -> Outcome {
    let mut draft = Draft::read(users, &args.user).await?;
    if !draft.exists && args.nkey.is_none() {
        let advice = "create it with `password` or `token`, or pass --nkey";
        return users.refuse(REFUSED, format_args!("{}: {advice}", unknown(&args.user)));
    }
    for key in &args.unset {
        draft.entry.remove(key);
    }
    let texts = [
        ("account", &args.account),
        ("nkey", &args.nkey),
        ("expires", &args.expires),
        ("expires_after", &args.expires_after),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            draft.entry.insert(key.to_owned(), json!(text));
        }
    }
    let lists = [
        ("roles", &args.roles),
        ("source", &args.sources),
        ("connection_types", &args.connection_types),
    ];
    for (key, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        draft.entry.insert(key.to_owned(), json!(list));
    }
    for (key, short, list) in
        [("publish", "pub", &args.publish), ("subscribe", "sub", &args.subscribe)]
    {
        if list.is_empty() {
            continue;
        }
        let permissions = draft.entry.entry("permissions").or_insert_with(|| json!({}));
        let Value::Object(permissions) = permissions else { continue };
        permissions.remove(short);
        permissions.insert(key.to_owned(), json!(list));
    }
    let said = written(&args.user);
    draft.write(users, said, Value::Null).await
}

pub(super) async fn password(users: &Users, user: &str) -> Outcome {
    let password = hash_password::read_password()?;
    let mut draft = Draft::read(users, user).await?;
    for key in PASSWORDS {
        draft.entry.remove(key);
    }
    draft.entry.insert("password".to_owned(), json!(hash(&password)?));
    draft.write(users, written(user), Value::Null).await
}

pub(super) async fn token(users: &Users, user: &str) -> Outcome {
    let token = BASE64URL_NOPAD.encode(&random::<TOKEN_BYTES>()?);
    let mut draft = Draft::read(users, user).await?;
    draft.entry.remove("token");
    draft.entry.insert("token_sha256".to_owned(), json!(token_sha256(&token)));
    draft.write(users, &token, json!({ "token": token })).await
}

/// The secret is only in the bucket and in the output, so that it must be copied now.
pub(super) async fn totp(users: &Users, user: &str) -> Outcome {
    let secret = BASE32_NOPAD.encode(&random::<TOTP_BYTES>()?);
    let name = utf8_percent_encode(user, NON_ALPHANUMERIC);
    let uri = format!("otpauth://totp/{name}?secret={secret}");
    let mut draft = Draft::read(users, user).await?;
    if !draft.exists {
        return users.refuse(REFUSED, unknown(user));
    }
    draft.entry.insert("totp".to_owned(), json!(uri));
    let code = QrCode::new(&uri).map_err(|_| "the user name is too long for a QR code")?;
    let code = code.render::<Dense1x2>().build();
    draft.write(users, format_args!("{code}\n{uri}"), json!({ "totp": uri })).await
}

fn random<const BYTES: usize>() -> Result<[u8; BYTES], &'static str> {
    let mut bytes = [0; BYTES];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| "no random numbers are available")?;
    Ok(bytes)
}

pub(super) async fn set_disabled(users: &Users, user: &str, disabled: bool) -> Outcome {
    let mut draft = Draft::read(users, user).await?;
    if !draft.exists {
        return users.refuse(REFUSED, unknown(user));
    }
    match disabled {
        true => draft.entry.insert("disabled".to_owned(), json!(true)),
        false => draft.entry.remove("disabled"),
    };
    let what = if disabled { "disabled" } else { "enabled" };
    let said = format!("{what} `{}`", user.escape_debug());
    draft.write(users, said, json!({ "disabled": disabled })).await
}

pub(super) async fn delete(users: &Users, user: &str) -> Outcome {
    let draft = Draft::read_any(users, user).await?;
    if !draft.exists {
        return users.refuse(REFUSED, unknown(user));
    }
    draft.delete(users).await
}

fn written(user: &str) -> String {
    format!("wrote the entry of `{}`", user.escape_debug())
}
