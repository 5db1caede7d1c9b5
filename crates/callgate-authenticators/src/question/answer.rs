//! The answer, read strictly: whatever is not exactly an answer decides nothing.

use std::time::Duration;

use callgate::{
    authn::Identity, clock::UnixTime, json::parse_strict, permissions::Permissions, record::Reason,
    request::Credential, sanitize::excerpt_up_to,
};
use callgate_config::parse_duration;
use serde_json::{Map, Value};

use crate::{
    backend::{Outside, QueryError, permissions, text_list},
    directory::parse_time,
};

/// How deep an answer may be nested.
const MAX_DEPTH: usize = 32;
/// In characters.
const MAX_DETAIL: usize = 200;

/// A complete, well-formed answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    /// How long the service allows to remember the answer.
    pub(super) cache: Duration,
    /// The length of the answer.
    pub(super) bytes: usize,
}

/// What the service decided.
#[derive(Debug)]
pub(super) enum Verdict {
    Allow(Box<Allowed>),
    Deny {
        code: Option<Reason>,
        /// For the log; escaped.
        detail: String,
    },
    Ignore,
}

#[derive(Debug)]
pub(super) struct Allowed {
    user: Option<String>,
    groups: Vec<String>,
    claims: Map<String, Value>,
    account: Option<String>,
    roles: Option<Vec<String>>,
    permissions: Option<Permissions>,
    expires: Option<UnixTime>,
    expires_after: Option<Duration>,
}

impl Answer {
    /// Reads an answer.
    ///
    /// # Errors
    /// What is malformed. Never contains a value.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        if body.is_empty() {
            return Err("it is empty".to_owned());
        }
        let value = parse_strict(body, MAX_DEPTH).map_err(|error| error.to_string())?;
        let Value::Object(members) = value else { return Err("it is not an object".to_owned()) };
        let mut members = Members(members);
        let result = members.text("result")?.ok_or("`result` is missing")?;
        let mut cache = Duration::ZERO;
        let verdict = match result.as_str() {
            "allow" => {
                cache = members.duration("cache")?.unwrap_or_default();
                Verdict::Allow(Box::new(Allowed::read(&mut members)?))
            }
            "deny" => Verdict::Deny { code: members.code()?, detail: members.detail()? },
            "ignore" => Verdict::Ignore,
            _ => return Err("`result` is not `allow`, `deny` or `ignore`".to_owned()),
        };
        members.finish(&result)?;
        Ok(Self { verdict, cache, bytes: body.len() })
    }

    /// The identity of an allowed client.
    ///
    /// # Errors
    /// Unusable if the answer does not allow this credential, or is out of bounds.
    pub(super) fn identity(
        &self,
        credential: &Credential,
        now: UnixTime,
    ) -> Result<Identity, QueryError> {
        let Verdict::Allow(allowed) = &self.verdict else {
            return Err(QueryError::unusable("the answer is not `allow`"));
        };
        let typed = match credential {
            Credential::Password { user, .. } => Some(user.clone()),
            _ => None,
        };
        let Some(user) = allowed.user.clone().or(typed) else {
            return Err(QueryError::unusable(
                "the answer is malformed: `user` is missing, and the credential contains none",
            ));
        };
        if allowed.expires.is_some_and(|end| end <= now) {
            return Err(QueryError::unusable("the answer is malformed: `expires` is in the past"));
        }
        let outside = Outside {
            user,
            groups: allowed.groups.clone(),
            claims: allowed.claims.clone(),
            account: allowed.account.clone(),
            roles: allowed.roles.clone(),
            permissions: allowed.permissions.clone(),
            expires: allowed.expires,
            expires_after: allowed.expires_after,
            ..Outside::default()
        };
        outside.identity(now)
    }
}

impl Allowed {
    fn read(members: &mut Members) -> Result<Self, String> {
        let user = members.text("user")?;
        let groups = members.texts("groups")?.unwrap_or_default();
        let claims = match members.take("claims") {
            None => Map::new(),
            Some(Value::Object(claims)) => claims,
            Some(_) => return Err("`claims` is not an object".to_owned()),
        };
        let account = members.text("account")?;
        let roles = members.texts("roles")?;
        let permissions = members.take("permissions").as_ref().map(permissions).transpose()?;
        let expires = match members.text("expires")? {
            None => None,
            Some(text) => {
                let time = parse_time(&text).ok_or("`expires` is not a time in RFC 3339")?;
                Some(time)
            }
        };
        let expires_after = members.duration("expires_after")?;
        if expires_after.is_some_and(|duration| duration.as_secs() == 0) {
            return Err("`expires_after` is less than a second".to_owned());
        }
        Ok(Self { user, groups, claims, account, roles, permissions, expires, expires_after })
    }
}

/// The members that have not been read.
struct Members(Map<String, Value>);

impl Members {
    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("`{name}` is not text")),
        }
    }

    fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>, String> {
        let Some(value) = self.take(name) else { return Ok(None) };
        text_list(&value).map(Some).ok_or_else(|| format!("`{name}` is not a list of texts"))
    }

    fn duration(&mut self, name: &str) -> Result<Option<Duration>, String> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let parsed = parse_duration(&text).map(Some);
        parsed.map_err(|_| format!("`{name}` is not a duration such as \"30s\""))
    }

    fn code(&mut self) -> Result<Option<Reason>, String> {
        let Some(code) = self.text("code")? else { return Ok(None) };
        match code.as_str() {
            "bad_password" => Ok(Some(Reason::BadPassword)),
            "bad_token" => Ok(Some(Reason::BadToken)),
            "unknown_user" => Ok(Some(Reason::UnknownUser)),
            "user_disabled" => Ok(Some(Reason::UserDisabled)),
            "user_expired" => Ok(Some(Reason::UserExpired)),
            "bad_second_factor" => Ok(Some(Reason::BadSecondFactor)),
            _ => Err("`code` is not one of the codes that a service may use".to_owned()),
        }
    }

    fn detail(&mut self) -> Result<String, String> {
        let Some(detail) = self.text("detail")? else {
            return Ok("the service denied the login".to_owned());
        };
        if detail.chars().count() > MAX_DETAIL {
            return Err(format!("`detail` has more than {MAX_DETAIL} characters"));
        }
        Ok(format!("the service denied the login: {}", excerpt_up_to(&detail, MAX_DETAIL)))
    }

    fn finish(self, result: &str) -> Result<(), String> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                let name = excerpt_up_to(name, 40);
                Err(format!("`{name}` is not a member of an answer with `{result}`"))
            }
        }
    }
}
