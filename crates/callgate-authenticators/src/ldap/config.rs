//! The table `ldap` of an authenticator.

use std::time::Duration;

use callgate_config::{Key, Table, Type, schema::TEXTS};

use crate::{
    backend::{CONNECT_TIMEOUT_KEY, TLS_KEY, Transport, connections_key, insecure_key},
    kind::FALL_THROUGH_KEY,
    ldap_client::{Account, BindTemplate, Dn, FilterTemplate, Scope, Server},
};

const INSECURE: &str = "insecure_plaintext";
const DN: Type = Type::Named("DN", &Type::Text);
const FILTER: Type = Type::Named("filter", &Type::Text);
const ATTRIBUTE: Type = Type::Named("attribute", &Type::Text);

/// The keys of the table.
pub(super) const KEYS: &[Key] = &[
    Key::required("url", TEXTS, "`ldaps://host[:636]`, or `ldap://host[:389]`, which always starts with StartTLS (on the loopback only if `tls.ca` or `tls.server_name` is set). The last one that worked is tried first"),
    Key::optional("schema", Type::Word(&["rfc2307bis", "active-directory", "freeipa", "lldap"]), "selects the defaults of other keys").or("\"rfc2307bis\""),
    Key::required("base", DN, "where the users are"),
    Key::optional("scope", Type::Word(&["sub", "one"]), "whether users may be anywhere below `base`, or only directly below it").or("\"sub\""),
    Key::optional("user_attribute", ATTRIBUTE, "holds the identity's user; the entry must have exactly one value").or_else("`uid`; Active Directory: `sAMAccountName`"),
    Key::optional("filter", FILTER, "finds the entry of `{user}`").or_else("`(&(objectClass=person)(UA={user}))`, where UA is `user_attribute`; [Active Directory](ldap.md#active-directory): also by `userPrincipalName`"),
    Key::optional("bind_dn", DN, "the service account. Required, unless `bind_as` or `anonymous_search` is set"),
    Key::optional("bind_password", Type::Secret, "its password"),
    Key::optional("anonymous_search", Type::Boolean, "search without a service account").or("false"),
    Key::optional("bind_as", Type::Text, "bind directly as this name, such as `\"uid={user},ou=people,dc=example,dc=org\"` or `\"{user}@corp.example\"`, and read the entry with the same bind"),
    Key::optional("groups", Type::Table(GROUPS), "which groups count").or("{}"),
    Key::optional("attributes", Type::List(&ATTRIBUTE), "attributes that become `claims`: a text, or a list if there are several values"),
    Key::optional("map", Type::Table(MAP), "attributes that propose access, within the `ceiling`").or("{}"),
    Key::optional("remember_rejected", Type::Duration, "how long a password that the directory refused is refused without asking again. Keeps a client that reconnects with an old password from locking the account").or("\"10s\""),
    FALL_THROUGH_KEY,
    connections_key("16"),
    CONNECT_TIMEOUT_KEY,
    TLS_KEY,
    insecure_key(INSECURE),
];

const GROUPS: &[Key] = &[
    Key::optional("from", Type::Word(&["memberOf", "search", "none"]), "the attribute `memberOf` of the entry, or a search for groups").or_else("`memberOf`; rfc2307bis: `search`"),
    Key::optional("base", DN, "only groups below it count").or_else("`base`"),
    Key::optional("filter", FILTER, "finds the groups of `{dn}` or `{user}`").or("\"(member={dn})\""),
    Key::optional("name", ATTRIBUTE, "what a group is called: `dn` or an attribute. With an attribute, only groups directly below `groups.base` count, because elsewhere two groups may have the same name").or("\"cn\""),
    Key::optional("nested", Type::OneOf(&[Type::Word(&["no", "in-chain"]), Type::Integer(1, MAX_LEVELS)]), "groups of groups: the number of levels, with one search for each, or `in-chain` (Active Directory)").or("\"no\""),
    Key::optional("primary", Type::Boolean, "add the primary group, which `memberOf` does not list (Active Directory)").or_else("`false`; Active Directory: `true`"),
];

const MAP: &[Key] = &[
    Key::optional("account", ATTRIBUTE, "the account"),
    Key::optional("roles", ATTRIBUTE, "roles, one for each value"),
    Key::optional("publish", ATTRIBUTE, "subjects to publish to, one for each value"),
    Key::optional("subscribe", ATTRIBUTE, "subjects to subscribe to, one for each value"),
    Key::optional("expires", ATTRIBUTE, "when the user expires: RFC 3339 or generalized time"),
];

const SCHEMAS: &[(&str, Schema)] = &[
    ("rfc2307bis", Schema::Rfc2307Bis),
    ("active-directory", Schema::ActiveDirectory),
    ("freeipa", Schema::FreeIpa),
    ("lldap", Schema::Lldap),
];
const GROUPS_FROM: &[(&str, GroupsFrom)] = &[
    ("memberOf", GroupsFrom::MemberOf),
    ("search", GroupsFrom::Search),
    ("none", GroupsFrom::None),
];

const MAX_LEVELS: i64 = 8;
const DEFAULT_CONNECTIONS: usize = 16;
const DEFAULT_REMEMBER_REJECTED: Duration = Duration::from_secs(10);
const ACTIVE_DIRECTORY_FILTER: &str = "(&(objectCategory=person)(objectClass=user)(|(sAMAccountName={user})(userPrincipalName={user})))";

/// The settings of an `ldap` authenticator.
pub(super) struct Settings {
    pub(super) servers: Vec<Server>,
    pub(super) schema: Schema,
    pub(super) base: Base,
    pub(super) scope: Scope,
    pub(super) user_attribute: String,
    pub(super) filter: FilterTemplate,
    pub(super) login: LoginBind,
    pub(super) groups: GroupRules,
    pub(super) attributes: Vec<String>,
    pub(super) map: Mapping,
    pub(super) remember_rejected: Duration,
    pub(super) fall_through: bool,
    pub(super) transport: Transport,
}

/// A name in the directory, as written and as read.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub(super) text: String,
    pub(super) dn: Dn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schema {
    Rfc2307Bis,
    ActiveDirectory,
    FreeIpa,
    Lldap,
}

/// How the password is verified.
pub(super) enum LoginBind {
    /// The service account, or an anonymous search, finds the entry to bind as.
    Search(Option<Account>),
    /// The name to bind as follows from the user name.
    Direct(BindTemplate),
}

/// Which groups an identity has.
pub(super) struct GroupRules {
    pub(super) from: GroupsFrom,
    pub(super) base: Base,
    pub(super) filter: FilterTemplate,
    /// `None` names groups by their DN.
    pub(super) name: Option<String>,
    pub(super) nested: Nested,
    pub(super) primary: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GroupsFrom {
    MemberOf,
    Search,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nested {
    No,
    /// Active Directory's rule 1.2.840.113556.1.4.1941.
    InChain,
    Levels(u8),
}

/// Attributes that propose access.
#[derive(Debug, Default)]
pub(super) struct Mapping {
    pub(super) account: Option<String>,
    pub(super) roles: Option<String>,
    pub(super) publish: Option<String>,
    pub(super) subscribe: Option<String>,
    pub(super) expires: Option<String>,
}

impl Settings {
    /// Reads the table and reports its errors.
    pub(super) fn read(table: &mut Table<'_>, fall_through: bool) -> Option<Self> {
        let transport = Transport::read(table, DEFAULT_CONNECTIONS, INSECURE);
        let schema = table.word("schema", SCHEMAS).unwrap_or(Schema::Rfc2307Bis);
        let servers = servers(table, transport.as_ref());
        let base = base(table, "base");
        if base.is_none() && !table.has("base") {
            table.fault_here("`base` is missing: set it to the DN that the users are below");
        }
        let scope = table.word("scope", &[("sub", Scope::Sub), ("one", Scope::One)]);
        let user_attribute = attribute(table, "user_attribute");
        let user_attribute = user_attribute.unwrap_or_else(|| schema.user_attribute().to_owned());
        let filter =
            filter(table, "filter", FilterTemplate::of_user, &schema.filter(&user_attribute));
        let login = LoginBind::read(table);
        let groups = GroupRules::read(table, schema, base.as_ref());
        let attributes = attributes(table);
        let map = Mapping::read(table);
        let remember_rejected = table.duration("remember_rejected");
        Some(Self {
            servers: servers?,
            schema,
            base: base?,
            scope: scope.unwrap_or(Scope::Sub),
            user_attribute,
            filter: filter?,
            login: login?,
            groups: groups?,
            attributes,
            map,
            remember_rejected: remember_rejected.unwrap_or(DEFAULT_REMEMBER_REJECTED),
            fall_through,
            transport: transport?,
        })
    }
}

impl Schema {
    fn user_attribute(self) -> &'static str {
        match self {
            Self::ActiveDirectory => "sAMAccountName",
            Self::Rfc2307Bis | Self::FreeIpa | Self::Lldap => "uid",
        }
    }

    fn filter(self, user_attribute: &str) -> String {
        match self {
            Self::ActiveDirectory => ACTIVE_DIRECTORY_FILTER.to_owned(),
            Self::Rfc2307Bis | Self::FreeIpa | Self::Lldap => {
                format!("(&(objectClass=person)({user_attribute}={{user}}))")
            }
        }
    }

    fn groups_from(self) -> GroupsFrom {
        match self {
            Self::Rfc2307Bis => GroupsFrom::Search,
            Self::ActiveDirectory | Self::FreeIpa | Self::Lldap => GroupsFrom::MemberOf,
        }
    }
}

impl LoginBind {
    fn read(table: &mut Table<'_>) -> Option<Self> {
        let dn = base(table, "bind_dn");
        let password = table.secret("bind_password");
        let anonymous = table.boolean("anonymous_search").unwrap_or(false);
        let has_account = table.has("bind_dn") || table.has("bind_password");
        if let Some(template) = table.filled_string("bind_as") {
            if has_account || anonymous {
                table.fault("bind_as", "binds without a service account: remove the other keys");
            }
            let template = BindTemplate::parse(&template);
            return template.map_err(|error| table.fault("bind_as", error)).ok().map(Self::Direct);
        }
        if anonymous && has_account {
            table.fault("anonymous_search", "cannot be combined with a service account");
            return None;
        }
        if anonymous {
            return Some(Self::Search(None));
        }
        if !table.has("bind_dn") || !table.has("bind_password") {
            table.fault_here(
                "`bind_dn` and `bind_password` are missing: set them to the service account that \
                 searches for users, or set `bind_as` or `anonymous_search`",
            );
            return None;
        }
        let password = password?;
        if password.is_empty() {
            table.fault("bind_password", "is empty: the directory would bind anonymously");
            return None;
        }
        Some(Self::Search(Some(Account { dn: dn?.text, password })))
    }
}

impl GroupRules {
    fn read(table: &mut Table<'_>, schema: Schema, users: Option<&Base>) -> Option<Self> {
        let mut groups = table.table("groups").unwrap_or_else(|| table.empty("groups"));
        let from = groups.word("from", GROUPS_FROM).unwrap_or(schema.groups_from());
        let own_base = base(&mut groups, "base");
        let has_base = groups.has("base");
        let filter = filter(&mut groups, "filter", FilterTemplate::of_groups, "(member={dn})");
        let name = attribute(&mut groups, "name").unwrap_or_else(|| "cn".to_owned());
        let name = (!name.eq_ignore_ascii_case("dn")).then_some(name);
        let nested = nested(&mut groups);
        if let (Nested::Levels(_), Some(filter)) = (nested, &filter)
            && !filter.has("{dn}")
        {
            groups.fault("nested", "needs `{dn}` in `groups.filter`: groups have no user name");
        }
        let primary = groups.boolean("primary").unwrap_or(schema == Schema::ActiveDirectory);
        if !has_base && from != GroupsFrom::None && name.is_some() {
            groups.warn(
                "base",
                "is not set: only groups directly below the `base` of the users count",
            );
        }
        let faultless = groups.finish();
        let base = if has_base { own_base } else { users.cloned() };
        let rules = Self { from, base: base?, filter: filter?, name, nested, primary };
        faultless.then_some(rules)
    }
}

impl Mapping {
    fn read(table: &mut Table<'_>) -> Self {
        let Some(mut map) = table.table("map") else { return Self::default() };
        let mapping = Self {
            account: attribute(&mut map, "account"),
            roles: attribute(&mut map, "roles"),
            publish: attribute(&mut map, "publish"),
            subscribe: attribute(&mut map, "subscribe"),
            expires: attribute(&mut map, "expires"),
        };
        map.finish();
        mapping
    }

    /// Whether anything is mapped that only a ceiling permits.
    pub(super) fn proposes_access(&self) -> bool {
        let Self { account, roles, publish, subscribe, expires: _ } = self;
        [account, roles, publish, subscribe].into_iter().any(Option::is_some)
    }

    /// The attributes that are set.
    pub(super) fn attributes(&self) -> impl Iterator<Item = &str> {
        let Self { account, roles, publish, subscribe, expires } = self;
        [account, roles, publish, subscribe, expires].into_iter().flatten().map(String::as_str)
    }
}

fn servers(table: &mut Table<'_>, transport: Option<&Transport>) -> Option<Vec<Server>> {
    if !table.has("url") {
        table
            .fault_here("`url` is missing: set it to the directory server, such as `ldaps://host`");
        return None;
    }
    let urls = table.filled_strings("url")?;
    let is_plain = |host: &str| {
        transport.is_some_and(|transport| {
            let wants_tls = transport.tls.ca.is_some() || transport.tls.server_name.is_some();
            transport.allows_plaintext(host) && !wants_tls
        })
    };
    let parse = |url: &String| {
        let server = Server::parse(url, is_plain);
        server.map_err(|error| table.fault("url", error)).ok()
    };
    let servers: Vec<_> = urls.iter().filter_map(parse).collect();
    (servers.len() == urls.len()).then_some(servers)
}

/// A DN that must not be empty: a bind with an empty one is anonymous.
fn base(table: &mut Table<'_>, key: &str) -> Option<Base> {
    let text = table.filled_string(key)?;
    match text.parse::<Dn>() {
        Ok(dn) if !dn.is_empty() => Some(Base { text, dn }),
        _ => {
            let shown = text.escape_debug();
            table.fault(
                key,
                format!("`{shown}` is not a DN, such as `ou=people,dc=example,dc=org`"),
            );
            None
        }
    }
}

fn filter<E: std::fmt::Display>(
    table: &mut Table<'_>,
    key: &str,
    parse: impl Fn(&str) -> Result<FilterTemplate, E>,
    default: &str,
) -> Option<FilterTemplate> {
    let text = match table.has(key) {
        true => table.filled_string(key)?,
        false => default.to_owned(),
    };
    parse(&text).map_err(|error| table.fault(key, error)).ok()
}

fn attribute(table: &mut Table<'_>, key: &str) -> Option<String> {
    let name = table.filled_string(key)?;
    check_attribute(&name).map_err(|error| table.fault(key, error)).ok()?;
    Some(name)
}

fn attributes(table: &mut Table<'_>) -> Vec<String> {
    let names = table.filled_strings("attributes").unwrap_or_default();
    for name in &names {
        if let Err(error) = check_attribute(name) {
            table.fault("attributes", error);
        }
    }
    names
}

fn check_attribute(name: &str) -> Result<(), String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    match name.chars().all(is_part) {
        true => Ok(()),
        false => Err(format!("`{}` is not the name of an attribute", name.escape_debug())),
    }
}

fn nested(table: &mut Table<'_>) -> Nested {
    let Some(item) = table.raw("nested") else { return Nested::No };
    if let Some(levels) = item.value().as_u64().and_then(|levels| u8::try_from(levels).ok())
        && (1..=MAX_LEVELS).contains(&i64::from(levels))
    {
        return Nested::Levels(levels);
    }
    match item.value().as_str() {
        Some("no") => Nested::No,
        Some("in-chain") => Nested::InChain,
        _ => {
            item.fault(format!("must be \"no\", \"in-chain\", or a number from 1 to {MAX_LEVELS}"));
            Nested::No
        }
    }
}
