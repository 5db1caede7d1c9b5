//! Operator mode: an operator, accounts and their fixed users as JWTs.

use std::collections::BTreeMap;

use callgate::{
    clock::UnixTime,
    keys::KeyKind,
    operator::{
        Account, AllowedAccounts, ExternalAuthorization, FixedUser, Operator, Rights, Scope,
        credentials,
    },
};
use callgate_testkit::nats_server::Version;

use super::{ACCOUNTS, Fixed, Pair, Sentinel, Signers, Site, Variation, Xkey};
use crate::mode::Mode;

/// One account that users are placed in.
pub(super) struct Placed {
    pub(super) name: &'static str,
    pub(super) own: Pair,
    pub(super) signing: Pair,
    pub(super) reader: Pair,
}

struct Maker {
    mode: Mode,
    operator: Pair,
    now: UnixTime,
}

pub(super) fn site(mode: Mode, version: Version, variation: &Variation) -> Site {
    let account = || Pair::generate(KeyKind::Account);
    let maker = Maker { mode, operator: Pair::generate(KeyKind::Operator), now: UnixTime::now() };
    let (system, callout, issuer) = (account(), account(), account());
    let placed =
        ACCOUNTS.map(|name| Placed { name, own: account(), signing: account(), reader: account() });
    let xkey = mode.has_xkey().then(Xkey::generate);
    let auth = Pair::generate(KeyKind::User);
    let callout_jwt = maker.callout(&callout, &issuer, &auth, &placed, xkey.as_ref(), variation);
    let (sentinel_key, sentinel_jwt) = maker.user(&callout, FixedUser::sentinel);
    let (_, keyed) =
        maker.user(&callout, |key| FixedUser { bearer: false, ..FixedUser::sentinel(key) });
    let credentials = sentinel_key.file(&sentinel_jwt);
    let sentinel = Sentinel { credentials, jwt: sentinel_jwt, keyed };
    let mut preload = vec![(callout.public.clone(), callout_jwt)];
    preload.push((system.public.clone(), maker.account(&Account::new("SYS", system.id()))));
    preload.extend(placed.iter().map(|p| (p.own.public.clone(), maker.application(p, variation))));
    let auth_jwt = FixedUser::new("callgate", auth.public.parse().expect("a key"))
        .sign(&callout.key(), maker.now)
        .expect("a JWT");
    let answers_with = if mode.has_signing_keys() { issuer } else { callout.clone() };
    let watchers = placed.iter().map(|p| (p.name, maker.login(&p.own))).collect();
    Site {
        mode,
        server: maker.server(&system, &preload, &sentinel, version),
        service: service(mode, &callout.public, &placed),
        files: files(mode, &placed, &answers_with, xkey.as_ref(), &auth.file(&auth_jwt)),
        accounts: placed.iter().map(|p| (p.name, p.own.public.clone())).collect(),
        watchers,
        system: maker.login(&system),
        callout: Fixed::Credentials(auth.file(&auth_jwt)),
        sentinel: Some(sentinel),
        signers: Signers {
            issuer: answers_with,
            callout_account: Some(callout.public.clone()),
            app: placed[0].signer(mode).clone(),
            reader: placed[0].reader.clone(),
            xkey,
        },
    }
}

impl Pair {
    fn id(&self) -> callgate::keys::AccountKey {
        self.public.parse().expect("an account key")
    }

    /// A credentials file with this user's JWT.
    fn file(&self, jwt: &str) -> String {
        credentials(jwt, &self.key().seed()).expose().to_owned()
    }
}

impl Placed {
    fn signer(&self, mode: Mode) -> &Pair {
        if mode.has_signing_keys() { &self.signing } else { &self.own }
    }
}

impl Maker {
    fn account(&self, account: &Account) -> String {
        account.sign(&self.operator.key(), self.now).expect("a JWT")
    }

    fn callout(
        &self,
        own: &Pair,
        issuer: &Pair,
        auth: &Pair,
        placed: &[Placed],
        xkey: Option<&Xkey>,
        variation: &Variation,
    ) -> String {
        let named: Vec<&str> = variation.allowed_accounts.clone().unwrap_or(ACCOUNTS.to_vec());
        let allowed_accounts = match named.as_slice() {
            ["*"] => AllowedAccounts::Any,
            names => AllowedAccounts::Only(
                placed.iter().filter(|p| names.contains(&p.name)).map(|p| p.own.id()).collect(),
            ),
        };
        let external_authorization = Some(ExternalAuthorization {
            auth_users: vec![auth.public.parse().expect("a key")],
            allowed_accounts,
            xkey: xkey.map(|xkey| xkey.public.parse().expect("a key")),
        });
        let signing_keys = if self.mode.has_signing_keys() { vec![issuer.id()] } else { vec![] };
        let account = Account::new("AUTH", own.id());
        self.account(&Account { signing_keys, external_authorization, ..account })
    }

    fn application(&self, placed: &Placed, variation: &Variation) -> String {
        let hears = variation.reader_hears.unwrap_or("{{name()}}.>");
        let template = Rights::new(["probe.open.>", "$SYS.REQ.USER.INFO"], [hears, "_INBOX.>"]);
        let reader = Scope { role: "reader".to_owned(), key: placed.reader.id(), template };
        self.account(&Account {
            signing_keys: vec![placed.signing.id()],
            scopes: if self.mode.has_scopes() { vec![reader] } else { vec![] },
            jetstream: true,
            ..Account::new(placed.name, placed.own.id())
        })
    }

    fn user(
        &self,
        account: &Pair,
        user: impl FnOnce(callgate::keys::UserKey) -> FixedUser,
    ) -> (Pair, String) {
        let key = Pair::generate(KeyKind::User);
        let user = user(key.public.parse().expect("a key"));
        let jwt = user.sign(&account.key(), self.now).expect("a JWT");
        (key, jwt)
    }

    fn login(&self, account: &Pair) -> Fixed {
        let (key, jwt) = self.user(account, |key| FixedUser::new("fixed", key));
        Fixed::Credentials(key.file(&jwt))
    }

    fn server(
        &self,
        system: &Pair,
        preload: &[(String, String)],
        sentinel: &Sentinel,
        version: Version,
    ) -> String {
        let operator = Operator { name: "conformance".to_owned(), system_account: system.id() };
        let operator = operator.sign(&self.operator.key(), self.now).expect("a JWT");
        let preload: String =
            preload.iter().map(|(key, jwt)| format!("  {key}: \"{jwt}\"\n")).collect();
        let default_sentinel = match knows_default_sentinel(version) {
            true => format!("default_sentinel: \"{}\"", sentinel.jwt),
            false => String::new(),
        };
        format!(
            "operator: \"{operator}\"\nsystem_account: {}\nresolver: MEMORY\n\
             resolver_preload {{\n{preload}}}\nauthorization {{ timeout: 5 }}\n{default_sentinel}\n",
            system.public
        )
    }
}

/// 2.11.0 refuses the line; the newest patch of 2.11 takes it.
pub(crate) fn knows_default_sentinel(version: Version) -> bool {
    (version.minor, version.patch) >= (11, 11)
}

pub(super) fn files(
    mode: Mode,
    placed: &[Placed],
    issuer: &Pair,
    xkey: Option<&Xkey>,
    credentials: &str,
) -> Vec<(&'static str, String)> {
    let [app, other] = placed else { panic!("two accounts") };
    let mut files = vec![
        ("nats.creds", credentials.to_owned()),
        ("issuer.nk", issuer.seed().to_owned()),
        ("APP.nk", app.signer(mode).seed().to_owned()),
        ("OTHER.nk", other.signer(mode).seed().to_owned()),
        ("reader.nk", app.reader.seed().to_owned()),
    ];
    files.extend(xkey.map(|xkey| ("xkey.xk", xkey.seed().to_owned())));
    files
}

/// Open to every kind of connection.
const READER: &str = "[roles.reader]\nscope = \"reader\"\n\
                      connection_types = [\"nats\", \"websocket\", \"mqtt\", \"leafnode\"]\n";

pub(super) fn service(mode: Mode, callout: &str, placed: &[Placed]) -> String {
    let xkeys = if mode.has_xkey() { "xkeys = [{ file = \"xkey.xk\" }]" } else { "" };
    let accounts: BTreeMap<_, _> = placed.iter().map(|p| (p.name, p.own.public.as_str())).collect();
    let scoped = match mode.has_scopes() {
        true => "scoped = { reader = { file = \"reader.nk\" } }\n",
        false => "",
    };
    let app = format!(
        "[[accounts]]\nname = \"APP\"\nid = \"{}\"\nseed = {{ file = \"APP.nk\" }}\n{scoped}",
        accounts["APP"]
    );
    let other = match mode.has_several_accounts() {
        true => format!(
            "[[accounts]]\nname = \"OTHER\"\nid = \"{}\"\nseed = {{ file = \"OTHER.nk\" }}\n",
            accounts["OTHER"]
        ),
        false => String::new(),
    };
    let role = if mode.has_scopes() { READER } else { "" };
    format!(
        "[issuer]\nseed = {{ file = \"issuer.nk\" }}\naccount = \"{}\"\n{xkeys}\n{app}{other}{role}\n\
         [nats]\ncreds = \"nats.creds\"\n",
        callout
    )
}
