//! The answer about a token (RFC 7662 section 2.2), judged on every login.

use callgate::{
    authn::{Identity, Rejection},
    clock::UnixTime,
    json::parse_strict,
    record::Reason,
    request::{AuthRequest, Certificate},
    sanitize::excerpt_up_to,
};
use data_encoding::BASE64URL_NOPAD;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::config::Settings;
use crate::{
    backend::{Outside, QueryError},
    jws::claims::{bad, check_audience, numeric_date, read_audience, rejection, strings},
};

const MAX_DEPTH: usize = 32;
/// Longer answers are not remembered, so that the remembered ones take at most 40 MB.
pub(super) const MAX_REMEMBERED_BYTES: usize = 4096;
/// How many names of claims a message lists.
const MAX_NAMES: usize = 20;
/// The end of a token without `exp`, for what needs one.
const NO_END: UnixTime = UnixTime::from_seconds(i64::MAX);

/// A well-formed answer.
#[derive(Debug)]
pub(super) struct Introspected {
    /// `None` if the token is not active.
    claims: Option<Map<String, Value>>,
    pub(super) bytes: usize,
}

impl Introspected {
    /// Reads an answer.
    ///
    /// # Errors
    /// If it is not an object whose `active` is a boolean.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let value = parse_strict(body, MAX_DEPTH).map_err(|error| error.to_string())?;
        let Value::Object(claims) = value else { return Err("it is not an object".to_owned()) };
        let claims = match claims.get("active") {
            Some(Value::Bool(true)) => Some(claims),
            Some(Value::Bool(false)) => None,
            Some(_) => return Err("`active` is not a boolean".to_owned()),
            None => return Err("`active` is missing".to_owned()),
        };
        Ok(Self { claims, bytes: body.len() })
    }

    /// The claims of an active token.
    pub(super) fn claims(&self) -> Option<&Map<String, Value>> {
        self.claims.as_ref()
    }

    /// When the token ends, if the answer says so.
    pub(super) fn expires(&self) -> Option<UnixTime> {
        self.claims().and_then(|claims| numeric_date(claims, "exp", f64::floor).ok().flatten())
    }

    /// The identity of the token's bearer.
    ///
    /// # Errors
    /// Rejected with the reason if the token is not acceptable.
    pub(super) fn judge(
        &self,
        settings: &Settings,
        request: &AuthRequest,
    ) -> Result<Identity, QueryError> {
        let Some(claims) = self.claims() else {
            return Err(QueryError::unusable("the answer is not about an active token"));
        };
        let identity = identity(claims, settings, request).map_err(QueryError::Rejected)?;
        // Bounds that hold for every backend.
        let Identity { user, groups, claims, expires_at, .. } = identity;
        let outside = Outside { user, groups, claims, expires: expires_at, ..Outside::default() };
        outside.identity(request.received())
    }
}

fn identity(
    claims: &Map<String, Value>,
    settings: &Settings,
    request: &AuthRequest,
) -> Result<Identity, Rejection> {
    check_issuer(claims, settings)?;
    check_type(claims)?;
    if let Some(accepted) = &settings.audience {
        let audience = read_audience(claims.get("aud"), "aud")?.ok_or_else(|| {
            bad("`aud` is missing: if this server never returns it, set `any_audience`")
        })?;
        check_audience(&audience, accepted, "aud")?;
    }
    let expires = check_times(claims, settings, request.received())?;
    check_binding(claims, request.certificate())?;
    check_scopes(claims, settings)?;
    if settings.rules.user.find(claims).is_none() {
        let names = claims.keys().take(MAX_NAMES).map(|name| excerpt_up_to(name, 40));
        return Err(bad(format!(
            "the claim `{}` with the user is missing; present are {}",
            settings.rules.user,
            names.collect::<Vec<_>>().join(", ")
        )));
    }
    let identity = settings.rules.identity(claims.clone(), expires.unwrap_or(NO_END))?;
    Ok(Identity { expires_at: expires, ..identity })
}

fn check_issuer(claims: &Map<String, Value>, settings: &Settings) -> Result<(), Rejection> {
    match (&settings.issuer, claims.get("iss")) {
        (Some(issuer), Some(found)) if found.as_str() != Some(issuer) => {
            Err(bad("`iss` in the answer is not the configured issuer"))
        }
        (Some(_) | None, _) => Ok(()),
    }
}

fn check_type(claims: &Map<String, Value>) -> Result<(), Rejection> {
    match claims.get("token_type") {
        None => Ok(()),
        Some(Value::String(kind)) if kind == "Bearer" || kind == "bearer" => Ok(()),
        Some(_) => Err(bad("`token_type` is not `Bearer`")),
    }
}

fn check_times(
    claims: &Map<String, Value>,
    settings: &Settings,
    now: UnixTime,
) -> Result<Option<UnixTime>, Rejection> {
    let expires = numeric_date(claims, "exp", f64::floor)?;
    match expires {
        None if !settings.exp_optional => {
            return Err(bad(
                "`exp` is missing: if this server never returns it, set `exp_optional`",
            ));
        }
        Some(end) if end <= now => {
            return Err(rejection(Reason::TokenExpired, format!("the token expired at {end}")));
        }
        Some(_) | None => {}
    }
    match numeric_date(claims, "nbf", f64::ceil)? {
        Some(begin) if begin > now => {
            Err(bad(format!("the token's `nbf` ({begin}) is in the future")))
        }
        Some(_) | None => Ok(expires),
    }
}

/// A bound token needs the certificate that it is bound to (RFC 8705 section 3.1).
fn check_binding(
    claims: &Map<String, Value>,
    certificate: Option<&Certificate>,
) -> Result<(), Rejection> {
    let Some(binding) = claims.get("cnf") else { return Ok(()) };
    let members = binding.as_object().ok_or_else(|| bad("`cnf` is not an object"))?;
    let thumbprint = members.get("x5t#S256").and_then(Value::as_str);
    let (Some(thumbprint), 1) = (thumbprint, members.len()) else {
        return Err(bad("the token is bound by a method other than a certificate"));
    };
    let own = certificate.and_then(thumbprint_of);
    match own.as_deref() == Some(thumbprint) {
        true => Ok(()),
        false => Err(bad("the token is bound to a certificate that the client did not present")),
    }
}

/// The base64url SHA-256 of the client's certificate.
fn thumbprint_of(certificate: &Certificate) -> Option<String> {
    let pem = certificate.verified_chains.first()?.first()?;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    Some(BASE64URL_NOPAD.encode(&Sha256::digest(&der)))
}

fn check_scopes(claims: &Map<String, Value>, settings: &Settings) -> Result<(), Rejection> {
    let granted = match claims.get("scope") {
        None => Vec::new(),
        Some(Value::String(text)) => text.split(' ').map(str::to_owned).collect(),
        Some(other) => strings(other).ok_or_else(|| bad("`scope` is neither text nor a list"))?,
    };
    match settings.scopes.iter().find(|scope| !granted.contains(scope)) {
        None => Ok(()),
        Some(missing) => Err(bad(format!("the required scope `{missing}` is missing"))),
    }
}
