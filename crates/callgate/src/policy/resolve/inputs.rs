//! The inputs of expressions: an identity and its connection, with limits on their size.
//!
//! An input beyond its limit is an error and refuses the login. Values are converted on first use, once
//! per decision.

use std::{
    collections::{BTreeSet, HashMap},
    sync::OnceLock,
};

use cel::{
    common::{
        types::{
            CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
        },
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use serde_json::Value as Json;

use super::{
    budget::{Budget, MAX_BYTES, MAX_ELEMENTS, MAX_NODES},
    evaluate::timestamp,
};
use crate::{
    policy::request::ResolveRequest,
    request::{Client, Server},
    template::{
        check::UsedClaims,
        cost::{Size, Sizes},
        expression::unescape_reserved,
    },
};

const MAX_DEPTH: usize = 32;

/// The input that exceeds its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge(pub(super) &'static str);

type Boxed<'a> = Box<dyn Val + 'a>;
type Bounded<'a> = OnceLock<Result<Boxed<'a>, TooLarge>>;

/// The variables of expressions.
#[derive(Debug)]
pub(super) struct Inputs<'a> {
    /// With the authenticator's prefix.
    pub(super) user: &'a str,
    pub(super) request: &'a ResolveRequest<'a>,
    /// What the decision may still cost.
    pub(super) budget: Budget,
    groups: Bounded<'a>,
    claims: Bounded<'a>,
    client: OnceLock<Boxed<'a>>,
    server: OnceLock<Boxed<'a>>,
    now: OnceLock<Option<Boxed<'a>>>,
}

impl<'a> Inputs<'a> {
    pub(super) fn new(user: &'a str, request: &'a ResolveRequest<'a>) -> Self {
        Self {
            user,
            request,
            budget: Budget::default(),
            groups: OnceLock::new(),
            claims: OnceLock::new(),
            client: OnceLock::new(),
            server: OnceLock::new(),
            now: OnceLock::new(),
        }
    }

    /// The groups.
    pub(super) fn groups(&self) -> Result<&(dyn Val + 'a), TooLarge> {
        let groups = self.groups.get_or_init(|| {
            let mut remaining = Remaining::new("groups");
            remaining.list(self.request.identity.groups.len())?;
            self.budget.note(self.variable("groups").units());
            let mut list: Vec<Boxed<'a>> = Vec::with_capacity(self.request.identity.groups.len());
            for group in &self.request.identity.groups {
                list.push(remaining.text(group)?);
            }
            Ok(Box::new(CelList::from(list)))
        });
        groups.as_ref().map(AsRef::as_ref).map_err(|too_large| *too_large)
    }

    /// All claims.
    fn claims(&self) -> Result<&(dyn Val + 'a), TooLarge> {
        let claims = self.claims.get_or_init(|| {
            let mut remaining = Remaining::new("claims");
            let claims = remaining.map(&self.request.identity.claims, MAX_DEPTH);
            self.budget.note(remaining.used());
            claims
        });
        claims.as_ref().map(AsRef::as_ref).map_err(|too_large| *too_large)
    }

    /// The variables of an expression that uses these claims.
    pub(super) fn variables_for(&self, used: &UsedClaims) -> Result<Variables<'_, 'a>, TooLarge> {
        let selected_claims = match used {
            UsedClaims::None => None,
            UsedClaims::All => self.claims().map(|_| None)?,
            // A user in a thousand groups: conditions on other claims still work.
            UsedClaims::Named(names) => match self.claims() {
                Ok(_) => None,
                Err(TooLarge(_)) => Some(self.named_claims(names)?),
            },
        };
        Ok(Variables { inputs: self, selected_claims })
    }

    fn named_claims(&self, names: &BTreeSet<String>) -> Result<Boxed<'a>, TooLarge> {
        let claims = &self.request.identity.claims;
        let mut remaining = Remaining::new("claims");
        let present = names.iter().filter_map(|name| claims.get_key_value(name));
        let named = remaining.entries(present, names.len(), MAX_DEPTH);
        self.budget.note(remaining.used());
        named
    }

    fn client(&self) -> &(dyn Val + 'a) {
        self.client
            .get_or_init(|| {
                let client = self.request.connection.client;
                text_map([
                    ("host", &client.host),
                    ("type", &client.kind_of_client),
                    ("kind", &client.kind),
                    ("name", &client.name),
                    ("lang", &client.lang),
                    ("version", &client.version),
                    ("mqtt_id", &client.mqtt_id),
                ])
            })
            .as_ref()
    }

    fn server(&self) -> &(dyn Val + 'a) {
        self.server
            .get_or_init(|| {
                let server = self.request.connection.server;
                let tags: Vec<Boxed<'a>> = server.tags.iter().map(|tag| text(tag)).collect();
                let tags: Boxed<'a> = Box::new(CelList::from(tags));
                Box::new(CelMap::from(HashMap::from([
                    (CelMapKey::from("name"), text(&server.name)),
                    (CelMapKey::from("cluster"), text(&server.cluster)),
                    (CelMapKey::from("tags"), tags),
                ])))
            })
            .as_ref()
    }

    fn now(&self) -> Option<&(dyn Val + 'a)> {
        self.now.get_or_init(|| timestamp(self.request.now)).as_deref()
    }
}

/// The variables of one expression.
pub(super) struct Variables<'s, 'a> {
    inputs: &'s Inputs<'a>,
    /// The claims that the expression uses, if all claims together are too large.
    selected_claims: Option<Boxed<'a>>,
}

impl VariableResolver for Variables<'_, '_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        match (&self.selected_claims, variable) {
            (Some(claims), "claims") => Some(CowVal::Borrowed(claims.as_ref())),
            (Some(_) | None, _) => self.inputs.resolve(variable),
        }
    }
}

impl Sizes for Inputs<'_> {
    fn variable(&self, name: &str) -> Size {
        let texts =
            |texts: &[String]| Size::collection(texts.iter().map(|t| Size::scalar(t.len())));
        let ResolveRequest { identity, connection, authenticator, .. } = self.request;
        match name {
            "user" => Size::scalar(self.user.len()),
            "authenticator" => Size::scalar(authenticator.len()),
            "groups" => texts(&identity.groups),
            "claims" => Size::of_map(&identity.claims),
            "client" => {
                let client = connection.client;
                let Client { host, kind_of_client, kind, name, lang, version, mqtt_id, .. } =
                    client;
                let fields = [host, kind_of_client, kind, name, lang, version, mqtt_id];
                Size::collection(fields.into_iter().map(|text| Size::scalar(text.len())))
            }
            "server" => {
                let Server { name, cluster, tags, .. } = connection.server;
                let fields = [Size::scalar(name.len()), Size::scalar(cluster.len()), texts(tags)];
                Size::collection(fields.into_iter())
            }
            "now" => Size::scalar(0),
            other => Size::scalar(identity.variables.get(other).map_or(0, String::len)),
        }
    }

    fn claim(&self, name: &str) -> Size {
        self.request.identity.claims.get(name).map(Size::of_json).unwrap_or_default()
    }
}

impl VariableResolver for Inputs<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let borrowed = |value: &'b dyn Val| Some(CowVal::Borrowed(value));
        match variable {
            "user" => Some(CowVal::owned(CelString::from(self.user))),
            "authenticator" => Some(CowVal::owned(CelString::from(self.request.authenticator))),
            "groups" => self.groups().ok().and_then(borrowed),
            "claims" => self.claims().ok().and_then(borrowed),
            "client" => borrowed(self.client()),
            "server" => borrowed(self.server()),
            "now" => self.now().and_then(borrowed),
            other => {
                let value = self.request.identity.variables.get(unescape_reserved(other))?;
                Some(CowVal::owned(CelString::from(value.as_str())))
            }
        }
    }
}

fn text<'a>(text: &'a str) -> Boxed<'a> {
    Box::new(CelString::from(text))
}

fn text_map<'a, const N: usize>(entries: [(&'static str, &'a String); N]) -> Boxed<'a> {
    let entries = entries.into_iter().map(|(key, value)| (CelMapKey::from(key), text(value)));
    Box::new(CelMap::from(entries.collect::<HashMap<_, _>>()))
}

/// The remaining size that may be converted.
struct Remaining {
    what: &'static str,
    nodes: usize,
    bytes: usize,
}

impl Remaining {
    fn new(what: &'static str) -> Self {
        Self { what, nodes: MAX_NODES, bytes: MAX_BYTES }
    }

    /// Takes one value with this many bytes of text.
    fn spend(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.nodes = self.nodes.checked_sub(1).ok_or(TooLarge(self.what))?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or(TooLarge(self.what))?;
        Ok(())
    }

    /// The work so far.
    fn used(&self) -> u64 {
        let nodes = MAX_NODES.saturating_sub(self.nodes);
        let bytes = MAX_BYTES.saturating_sub(self.bytes);
        (nodes + bytes / 32) as u64
    }

    fn list(&self, elements: usize) -> Result<(), TooLarge> {
        if elements > MAX_ELEMENTS { Err(TooLarge(self.what)) } else { Ok(()) }
    }

    fn text<'a>(&mut self, value: &'a str) -> Result<Boxed<'a>, TooLarge> {
        self.spend(value.len().saturating_add(1))?;
        Ok(text(value))
    }

    fn map<'a>(
        &mut self,
        map: &'a serde_json::Map<String, Json>,
        depth: usize,
    ) -> Result<Boxed<'a>, TooLarge> {
        self.entries(map.iter(), map.len(), depth)
    }

    fn entries<'a>(
        &mut self,
        all: impl Iterator<Item = (&'a String, &'a Json)>,
        count: usize,
        depth: usize,
    ) -> Result<Boxed<'a>, TooLarge> {
        self.list(count)?;
        let mut entries = HashMap::with_capacity(count);
        for (key, value) in all {
            self.spend(key.len().saturating_add(1))?;
            entries.insert(CelMapKey::from(key.as_str()), self.value(value, depth)?);
        }
        Ok(Box::new(CelMap::from(entries)))
    }

    fn value<'a>(&mut self, value: &'a Json, depth: usize) -> Result<Boxed<'a>, TooLarge> {
        let depth = depth.checked_sub(1).ok_or(TooLarge(self.what))?;
        match value {
            Json::String(value) => self.text(value),
            Json::Object(map) => self.map(map, depth),
            Json::Array(list) => {
                self.list(list.len())?;
                let list: Result<Vec<_>, _> =
                    list.iter().map(|element| self.value(element, depth)).collect();
                Ok(Box::new(CelList::from(list?)))
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {
                self.spend(8)?;
                Ok(scalar(value))
            }
        }
    }
}

fn scalar<'a>(value: &Json) -> Boxed<'a> {
    if let Some(value) = value.as_bool() {
        return Box::new(CelBool::from(value));
    }
    // Integers as `int`, so that they compare and add with the literals of an expression.
    if let Some(value) = value.as_i64() {
        return Box::new(CelInt::from(value));
    }
    if let Some(value) = value.as_u64() {
        return Box::new(CelUInt::from(value));
    }
    match value.as_f64() {
        Some(value) => Box::new(CelDouble::from(value)),
        None => Box::new(CelNull),
    }
}
