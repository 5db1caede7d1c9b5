use std::{error::Error, fs, path::PathBuf};

use async_nats::{Auth, AuthError, Client, ConnectOptions};

pub type Connected = Result<Client, Box<dyn Error + Send + Sync>>;

/// The private inbox of a user.
pub fn inbox_prefix(user: &str) -> String {
    let encoded = user.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => char::from(byte).to_string(),
        other => format!("={other:02X}"),
    });
    format!("_INBOX_{}", encoded.collect::<String>())
}

pub async fn with_password(url: &str, user: &str, password: &str) -> Connected {
    let options = ConnectOptions::with_user_and_password(user.into(), password.into());
    Ok(options.custom_inbox_prefix(inbox_prefix(user)).connect(url).await?)
}

/// Reads a token that something else keeps fresh, at every login.
pub async fn with_token(url: &str, user: &str, token_file: PathBuf) -> Connected {
    let options = ConnectOptions::with_auth_callback(move |_nonce| {
        let token = fs::read_to_string(&token_file);
        async move {
            let mut auth = Auth::new();
            auth.token = Some(token.map_err(AuthError::new)?.trim().to_owned());
            Ok(auth)
        }
    });
    Ok(options.custom_inbox_prefix(inbox_prefix(user)).connect(url).await?)
}

pub async fn with_nkey(url: &str, user: &str, seed: &str) -> Connected {
    let options = ConnectOptions::with_nkey(seed.trim().to_owned());
    Ok(options.custom_inbox_prefix(inbox_prefix(user)).connect(url).await?)
}

/// For operator mode: the sentinel's file, and a token or a user and password.
pub async fn with_sentinel(url: &str, user: &str, sentinel: &str, token: &str) -> Connected {
    let options = ConnectOptions::with_credentials(sentinel)?.token(token.into());
    Ok(options.custom_inbox_prefix(inbox_prefix(user)).connect(url).await?)
}

pub async fn with_certificate(
    url: &str,
    user: &str,
    certificate: PathBuf,
    key: PathBuf,
    ca: PathBuf,
) -> Connected {
    let options = ConnectOptions::new().add_client_certificate(certificate, key);
    let options = options.add_root_certificates(ca).custom_inbox_prefix(inbox_prefix(user));
    Ok(options.connect(url).await?)
}
