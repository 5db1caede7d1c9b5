//! `[issuer]` and `[[accounts]]`.

mod operator;

use callgate::{
    keys::{AccountKey, AccountSigner, CurveKey, KeyError, Seed},
    policy::settings::{AccountSettings, AccountsSettings},
};
use callgate_config::{Key, Table, Type, schema::TEXTS};

use super::flags::{self, Overrides};

pub(super) const KEYS: &[Key] = &[
    Key::optional(
        "seed",
        Type::Seed("SA…"),
        "signs user JWTs and answers. In configuration mode, its public key is nats-server's \
         `auth_callout.issuer`. In operator mode, it is the callout account's key or one of its signing keys",
    )
    .or_else("required"),
    Key::optional(
        "xkeys",
        Type::List(&Type::Seed("SX…")),
        "curve keys, newest first. Each of them opens requests, and the answer is sealed with the one that \
         did. If any is set, plaintext requests are dropped",
    )
    .or("[]"),
    Key::optional(
        "callout_account",
        Type::Text,
        "name of the callout account, for `check`, `explain` and the time before the first connection. If the \
         server reports another account, Callgate does not become ready. In operator mode it is a name or a \
         key; servers before 2.12 report only the key, and then the log says that the name was not compared",
    )
    .or_else("learned"),
    Key::optional("system_accounts", TEXTS, "accounts that only the operator's own files may name")
        .or("[\"SYS\", \"$SYS\"]"),
    Key::optional("account", ACCOUNT_KEY, "operator mode: public key of the callout account"),
    Key::optional(
        "insecure_allow_plaintext",
        Type::Boolean,
        "answer plaintext requests although an xkey is set, during a migration",
    )
    .or("false"),
    Key::optional(
        "insecure_share_callout_account",
        Type::Boolean,
        "allow users in the callout account, for setups with a single account. These users can read every \
         unencrypted password",
    )
    .or("false"),
];

pub(super) const ACCOUNT_KEYS: &[Key] = &[
    Key::required(
        "name",
        Type::Text,
        "a name. In configuration mode also a pattern: a literal prefix, one `*` and an optional suffix. `*` \
         matches one or more of `A-Z a-z 0-9 _ -`",
    ),
    Key::optional("id", ACCOUNT_KEY, "public key of the account")
        .or_else("operator mode: required"),
    Key::optional("seed", Type::Seed("SA…"), "key of the account, or one of its signing keys")
        .or_else("operator mode: required"),
    Key::optional(
        "scoped",
        Type::Map(&Type::Seed("SA…")),
        "operator mode: scoped signing keys by name, for `roles.NAME.scope`",
    ),
];

const ACCOUNT_KEY: Type = Type::Named("`A…`", &Type::Text);

/// The keys that sign answers and open requests.
#[derive(Debug)]
pub(crate) struct IssuerSettings {
    pub(crate) signer: AccountSigner,
    pub(crate) xkeys: Vec<CurveKey>,
    pub(crate) allow_plaintext: bool,
    pub(crate) share_callout_account: bool,
    pub(crate) callout_account: Option<String>,
    /// Operator mode: the callout account.
    pub(crate) account: Option<AccountKey>,
    /// Operator mode: the keys of the accounts that users may be placed in.
    pub(crate) accounts: Vec<SigningAccount>,
}

/// An account that users may be placed in (operator mode).
#[derive(Debug)]
pub(crate) struct SigningAccount {
    pub(crate) name: String,
    pub(crate) id: AccountKey,
    pub(crate) signer: AccountSigner,
    pub(crate) scoped: Vec<(String, AccountSigner)>,
}

/// Reads both sections. The policy's part is returned even if the issuer has errors.
pub(super) fn read(
    root: &mut Table<'_>,
    overrides: &Overrides,
    overridden: &mut Vec<String>,
) -> (Option<IssuerSettings>, AccountsSettings) {
    let mut settings = AccountsSettings {
        default_account: root.string("default_account"),
        ..AccountsSettings::default()
    };
    if settings.default_account.as_deref() == Some("") {
        root.fault("default_account", "must not be empty");
    }
    let is_present = root.has("issuer");
    let Some(mut table) = section(root, "issuer") else { return (None, settings) };
    if !is_present && overrides.issuer_seed.is_none() {
        root.fault("issuer", "is missing: set `seed` (or --issuer-seed) to the seed of the account nkey whose public key is auth_callout.issuer of nats-server; `callgate key account` makes one");
    }
    let signer = signer(&mut table, overrides, overridden, is_present);
    let xkeys = xkeys(&mut table, overrides, overridden);
    let account: Option<AccountKey> = table.parse("account");
    settings.operator_mode = table.has("account");
    settings.callout_account = table.string("callout_account");
    // An empty list would protect no system account.
    if let Some(system) = table.filled_strings("system_accounts") {
        settings.system_accounts = system;
    }
    let share = table.boolean("insecure_share_callout_account").unwrap_or_default();
    settings.insecure_share_callout_account = share;
    let allow_plaintext = table.boolean("insecure_allow_plaintext").unwrap_or_default();
    if allow_plaintext {
        table.warn(
            "insecure_allow_plaintext",
            "plaintext requests are answered: remove this key when every server has the xkey",
        );
    }
    if xkeys.as_ref().is_some_and(Vec::is_empty) {
        warn_missing_xkey(&table, settings.operator_mode);
    }
    let callout_account = settings.callout_account.clone();
    table.finish();

    let accounts = accounts(root, &mut settings);
    if let (Some(callout), Some(accounts)) = (&account, &accounts) {
        let stated = callout_account.as_deref();
        let keys = operator::Keys { callout, stated, issuer: signer.as_ref(), accounts };
        operator::check(&keys, share, root.report());
    }
    let assemble = || {
        Some(IssuerSettings {
            signer: signer?,
            xkeys: xkeys?,
            allow_plaintext,
            share_callout_account: share,
            callout_account,
            account,
            accounts: accounts?,
        })
    };
    (assemble(), settings)
}

/// A section that may be absent if flags replace it.
fn section<'a>(root: &mut Table<'a>, key: &str) -> Option<Table<'a>> {
    match root.has(key) {
        true => root.table(key),
        false => Some(root.empty(key)),
    }
}

fn signer(
    table: &mut Table<'_>,
    overrides: &Overrides,
    overridden: &mut Vec<String>,
    is_present: bool,
) -> Option<AccountSigner> {
    let in_file = table.has("seed");
    let seed = match &overrides.issuer_seed {
        Some(flag) => {
            if in_file {
                overridden.push("issuer.seed".to_owned());
            }
            flags::seed(flag, "seed", table)
        }
        None if in_file => table.seed("seed"),
        None => {
            if is_present {
                let wanted = match table.has("account") {
                    true => {
                        "the seed (SA…) of the callout account's key, or of one of its signing keys"
                    }
                    false => {
                        "the seed (SA…) of the account nkey whose public key is auth_callout.issuer of nats-server; `callgate key account` makes one"
                    }
                };
                table.fault("seed", format!("is missing: {wanted}"));
            }
            None
        }
    };
    parsed(table, "seed", seed, AccountSigner::try_from)
}

fn xkeys(
    table: &mut Table<'_>,
    overrides: &Overrides,
    overridden: &mut Vec<String>,
) -> Option<Vec<CurveKey>> {
    if let Some(flag) = &overrides.xkey_seed {
        if table.has("xkeys") {
            overridden.push("issuer.xkeys".to_owned());
        }
        let seed = flags::seed(flag, "xkeys", table);
        return Some(vec![parsed(table, "xkeys", seed, CurveKey::try_from)?]);
    }
    let Some(list) = table.raw("xkeys") else { return Some(Vec::new()) };
    let keys: Vec<Option<CurveKey>> = list
        .items()
        .iter()
        .map(|item| {
            let seed = item.seed()?;
            CurveKey::try_from(seed).map_err(|error| item.fault(error)).ok()
        })
        .collect();
    keys.into_iter().collect()
}

fn parsed<T>(
    table: &Table<'_>,
    key: &str,
    seed: Option<Seed>,
    parse: impl FnOnce(Seed) -> Result<T, KeyError>,
) -> Option<T> {
    parse(seed?).map_err(|error| table.fault(key, error)).ok()
}

fn warn_missing_xkey(table: &Table<'_>, operator_mode: bool) {
    let place = match operator_mode {
        true => "the callout account's JWT (`nsc edit authcallout --curve X…`)",
        false => "auth_callout.xkey",
    };
    table.warn(
        "xkeys",
        format!(
            "no xkey: servers send passwords and tokens unencrypted; `callgate key curve` makes one, and \
             its public key goes into {place}"
        ),
    );
}

fn accounts(root: &mut Table<'_>, settings: &mut AccountsSettings) -> Option<Vec<SigningAccount>> {
    let mut signing = Some(Vec::new());
    for mut table in root.tables("accounts") {
        let Some(name) = table.required_string("name") else {
            signing = None;
            continue;
        };
        if !settings.operator_mode {
            for key in ["id", "seed", "scoped"] {
                table.refuse(key, "only used in operator mode: set issuer.account, or remove it");
            }
            table.finish();
            settings.accounts.push(AccountSettings::named(name));
            continue;
        }
        let account = signing_account(table, name, settings);
        signing = signing.zip(account).map(|(mut signing, account)| {
            signing.push(account);
            signing
        });
    }
    signing
}

fn signing_account(
    mut table: Table<'_>,
    name: String,
    settings: &mut AccountsSettings,
) -> Option<SigningAccount> {
    for key in ["id", "seed"] {
        if !table.has(key) {
            table.fault_here(format!(
                "`{key}` is missing: in operator mode, the account's key signs its users"
            ));
        }
    }
    let id: Option<AccountKey> = table.parse("id");
    let seed = table.seed("seed");
    let signer = parsed(&table, "seed", seed, AccountSigner::try_from);
    let mut scoped = Vec::new();
    if let Some(mut scopes) = table.table("scoped") {
        for scope in scopes.map().keys() {
            let seed = scopes.seed(scope);
            let key = parsed(&scopes, scope, seed, AccountSigner::try_from);
            scoped.extend(key.map(|key| (scope.clone(), key)));
        }
        scopes.finish();
    }
    settings.accounts.push(AccountSettings {
        name: name.clone(),
        id: id.as_ref().map(ToString::to_string),
        scoped: scoped.iter().map(|(scope, _)| scope.clone()).collect(),
    });
    table.finish();
    Some(SigningAccount { name, id: id?, signer: signer?, scoped })
}
