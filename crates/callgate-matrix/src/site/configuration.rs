//! Configuration mode: everything is in the server's configuration.

use callgate::keys::KeyKind;
use callgate_testkit::service::PERMISSIONS;

use super::{ACCOUNTS, Fixed, Pair, Signers, Site, Variation, Xkey};
use crate::mode::Mode;

pub(super) fn site(mode: Mode, variation: &Variation) -> Site {
    let issuer = Pair::generate(KeyKind::Account);
    let xkey = mode.has_xkey().then(Xkey::generate);
    let auth = Pair::generate(KeyKind::User);
    let watchers = ACCOUNTS
        .map(|account| (account, Fixed::Password(watcher(account), "watch")))
        .into_iter()
        .collect();
    let service = service(xkey.is_some(), mode.has_several_accounts());
    let mut files =
        vec![("auth.nk", auth.seed().to_owned()), ("issuer.nk", issuer.seed().to_owned())];
    files.extend(xkey.as_ref().map(|xkey| ("xkey.xk", xkey.seed().to_owned())));
    Site {
        mode,
        server: server(&issuer, xkey.as_ref(), &auth, variation),
        service,
        files,
        accounts: ACCOUNTS.map(|name| (name, name.to_owned())).into_iter().collect(),
        watchers,
        system: Fixed::Password("admin", "admin"),
        callout: Fixed::Password("auth", "auth"),
        sentinel: None,
        signers: Signers {
            app: issuer.clone(),
            reader: issuer.clone(),
            issuer,
            callout_account: None,
            xkey,
        },
    }
}

fn watcher(account: &str) -> &'static str {
    match account {
        "APP" => "watch-APP",
        _ => "watch-OTHER",
    }
}

fn server(issuer: &Pair, xkey: Option<&Xkey>, auth: &Pair, variation: &Variation) -> String {
    let xkey = xkey.map(|xkey| format!("xkey: \"{}\"", xkey.public)).unwrap_or_default();
    let allowed = variation.allowed_accounts.as_ref();
    let allowed = allowed.map(|accounts| format!("allowed_accounts: {accounts:?}"));
    format!(
        r#"
accounts {{
  AUTH {{ users: [
    {{ nkey: "{auth}", {PERMISSIONS} }}
    {{ user: auth, password: auth }}
  ] }}
  APP {{ jetstream: enabled, users: [ {{ user: watch-APP, password: watch }} ] }}
  OTHER {{ jetstream: enabled, users: [ {{ user: watch-OTHER, password: watch }} ] }}
  SYS {{ users: [ {{ user: admin, password: admin }} ] }}
}}
system_account: SYS
authorization {{
  timeout: 5
  auth_callout {{
    issuer: "{issuer}", account: AUTH
    auth_users: [ "{auth}", auth, watch-APP, watch-OTHER, admin ]
    {xkey}
    {allowed}
  }}
}}
"#,
        auth = auth.public,
        issuer = issuer.public,
        allowed = allowed.unwrap_or_default(),
    )
}

fn service(has_xkey: bool, several: bool) -> String {
    let xkeys = if has_xkey { "xkeys = [{ file = \"xkey.xk\" }]" } else { "" };
    let accounts = match several {
        true => "[[accounts]]\nname = \"APP\"\n[[accounts]]\nname = \"OTHER\"\n",
        false => "",
    };
    format!(
        "[issuer]\nseed = {{ file = \"issuer.nk\" }}\ncallout_account = \"AUTH\"\n{xkeys}\n\
         {accounts}\n[nats]\nnkey = {{ file = \"auth.nk\" }}\n"
    )
}
