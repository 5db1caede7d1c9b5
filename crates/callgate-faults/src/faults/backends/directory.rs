//! OpenLDAP's slapd.

use callgate_testkit::ldap::{Slapd, SlapdOptions};

use super::{Backend, CONNECTIONS, Effect, Failure, change_answers, genuine_answers, play};
use crate::{fault::NotRun, proxy::Proxy, report::Observations, scene::Scene};

const ENTRIES: &str = "\
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: uid=alice,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
userPassword: secret

dn: uid=callgate,dc=example,dc=org
objectClass: inetOrgPerson
uid: callgate
cn: Callgate
sn: C
userPassword: service
";

/// Without TLS, through a proxy.
pub(super) async fn plain() -> Result<Observations, NotRun> {
    let slapd = start().await?;
    let proxy = Proxy::to(slapd.port()).await;
    play(Directory { slapd, proxy: Some(proxy) }).await
}

/// With StartTLS.
pub(super) async fn tls() -> Result<Observations, NotRun> {
    play(Directory { slapd: start().await?, proxy: None }).await
}

async fn start() -> Result<Slapd, NotRun> {
    match cfg!(feature = "slapd") {
        true => Ok(Slapd::start(ENTRIES).await),
        false => Err(NotRun("slapd is not installed".to_owned())),
    }
}

struct Directory {
    slapd: Slapd,
    /// Connections without TLS pass through it.
    proxy: Option<Proxy>,
}

impl Directory {
    fn set_service_password(&self, password: &str) {
        self.slapd.add(&format!(
            "dn: uid=callgate,dc=example,dc=org\nchangetype: modify\nreplace: userPassword\n\
             userPassword: {password}\n"
        ));
        self.proxy().cut();
    }

    fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("this failure needs a proxy")
    }
}

impl Backend for Directory {
    fn table(&self) -> String {
        let (port, tls) = match &self.proxy {
            Some(proxy) => (proxy.port(), String::new()),
            None => (self.slapd.port(), format!("tls.ca = {:?}", self.slapd.ca())),
        };
        format!(
            r#"[authenticators.ldap]
url = "ldap://127.0.0.1:{port}"
base = "ou=people,dc=example,dc=org"
bind_dn = "uid=callgate,dc=example,dc=org"
bind_password = "service"
groups.from = "none"
remember_rejected = "0s"
connections = {CONNECTIONS}
connect_timeout = "1s"
fall_through = true
{tls}"#
        )
    }

    fn failures(&self) -> &'static [(Failure, Effect)] {
        match self.proxy {
            None => &[
                (Failure::WithoutTls, Effect::Unavailable),
                (Failure::OtherName, Effect::Unavailable),
            ],
            Some(_) => &[
                (Failure::Stopped, Effect::Unavailable),
                (Failure::Frozen, Effect::Unavailable),
                (Failure::Restarted, Effect::Partial),
                (Failure::Truncated, Effect::Unavailable),
                (Failure::Doubled, Effect::Partial),
                (Failure::Endless, Effect::Unavailable),
                (Failure::Late, Effect::Unavailable),
                (Failure::Garbage, Effect::Unavailable),
                (Failure::RefusedCredentials, Effect::Unavailable),
                (Failure::PoolExhausted, Effect::Unavailable),
            ],
        }
    }

    async fn begin(&mut self, failure: Failure, _scene: &mut Scene) {
        match failure {
            Failure::Stopped => self.slapd.process().kill(),
            Failure::Frozen | Failure::PoolExhausted => self.slapd.process().freeze().await,
            Failure::Restarted => self.slapd.restart().await,
            Failure::WithoutTls => {
                let options = SlapdOptions { without_tls: true, ..SlapdOptions::default() };
                self.slapd.restart_with(options).await;
            }
            Failure::OtherName => {
                let options = SlapdOptions { other_name: true, ..SlapdOptions::default() };
                self.slapd.restart_with(options).await;
            }
            Failure::RefusedCredentials => self.set_service_password("other"),
            _ => change_answers(self.proxy(), failure),
        }
    }

    async fn end(&mut self, failure: Failure, _scene: &mut Scene) {
        match failure {
            Failure::Restarted => (),
            Failure::Stopped | Failure::WithoutTls | Failure::OtherName => {
                self.slapd.restart().await;
            }
            Failure::Frozen | Failure::PoolExhausted => self.slapd.process().signal("CONT"),
            Failure::RefusedCredentials => self.set_service_password("service"),
            _ => genuine_answers(self.proxy()),
        }
    }
}
