//! Genuinely signed and sealed requests, made before the clock starts.

use std::time::Duration;

use callgate::{
    clock::UnixTime,
    keys::{AccountKey, CurvePublicKey},
    secret::Secret,
    simulation::{ClientCredentials, RequestDraft, SimulatedRequest, SimulatedServer},
};

use crate::Failure;

/// Long enough that a request made now is still fresh when it is sent.
const PATIENCE: Duration = Duration::from_secs(240);

/// What clients present.
#[derive(Debug, Clone)]
pub(crate) enum Login {
    /// These users and passwords in turn.
    Passwords(Vec<(String, Secret)>),
    /// These tokens in turn.
    Tokens(Vec<Secret>),
}

/// The callout that requests are made for.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) issuer: AccountKey,
    pub(crate) xkey: Option<CurvePublicKey>,
}

/// A request that is ready to be sent, and what its answer must be.
#[derive(Debug)]
pub(crate) struct Premade {
    pub(crate) payload: Vec<u8>,
    pub(crate) header: Option<String>,
    pub(crate) user_nkey: String,
    pub(crate) server: usize,
}

/// Makes `count` requests of `servers` in turn.
pub(crate) fn requests(
    target: &Target,
    login: &Login,
    servers: &[SimulatedServer],
    count: usize,
) -> Result<Vec<Premade>, Failure> {
    let now = UnixTime::now();
    (0..count)
        .map(|number| {
            let index = number % servers.len().max(1);
            let server = servers.get(index).ok_or("there is no server to play")?;
            let draft =
                RequestDraft { patience: PATIENCE, ..RequestDraft::new(presented(login, number)) };
            let drafted = draft.sign_as(server, &target.issuer, target.xkey.as_ref(), now)?;
            let SimulatedRequest { payload, xkey_header, user_nkey } = drafted;
            Ok(Premade { payload, header: xkey_header, user_nkey, server: index })
        })
        .collect()
}

fn presented(login: &Login, number: usize) -> ClientCredentials {
    match login {
        Login::Passwords(logins) => {
            let login = logins.get(number % logins.len().max(1)).cloned();
            let (user, password) = login.unzip();
            ClientCredentials { user, password, ..ClientCredentials::default() }
        }
        Login::Tokens(tokens) => {
            let token = tokens.get(number % tokens.len().max(1)).cloned();
            ClientCredentials { token, ..ClientCredentials::default() }
        }
    }
}
