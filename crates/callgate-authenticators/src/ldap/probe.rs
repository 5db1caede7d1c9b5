//! What `check --connect` verifies: everything that a login depends on, without a user.

use callgate::authn::{BackendError, ProbeReport};
use ldap3::parse_filter;
use tokio::time::Instant;

use super::{
    config::{GroupsFrom, LoginBind, Nested, Schema},
    login::Client,
};
use crate::{
    backend::QueryError,
    ldap_client::{Entry, Purpose, Scope, Searcher, Values},
};

/// What Active Directory lists in `supportedCapabilities`.
const ACTIVE_DIRECTORY: &str = "1.2.840.113556.1.4.800";

impl Client {
    /// Connects, and binds as the service account if there is one.
    pub(super) async fn check_contact(&self) -> Result<(), BackendError> {
        self.pool.lease(self.probe_purpose()).await?.keep();
        Ok(())
    }

    /// Verifies everything that a login depends on.
    ///
    /// # Errors
    /// The first problem that would refuse every login, or drop every group.
    pub(super) async fn probe(&self, deadline: Instant) -> Result<ProbeReport, BackendError> {
        let mut lease = self.pool.lease(self.probe_purpose()).await?;
        let mut searcher = Searcher::new(lease.connection(), deadline);
        let mut report = ProbeReport::default();
        match self.settings.login {
            LoginBind::Search(_) => self.probe_directory(&mut searcher, &mut report).await?,
            LoginBind::Direct(_) => report.notes.push(
                "connected; without a service account, `base` and `groups.base` cannot be checked"
                    .to_owned(),
            ),
        }
        lease.keep();
        Ok(report)
    }

    fn probe_purpose(&self) -> Purpose {
        match self.settings.login {
            LoginBind::Search(_) => Purpose::Search,
            LoginBind::Direct(_) => Purpose::Single,
        }
    }

    async fn probe_directory(
        &self,
        searcher: &mut Searcher<'_>,
        report: &mut ProbeReport,
    ) -> Result<(), BackendError> {
        let settings = &self.settings;
        self.probe_schema(searcher, report).await?;
        exists(searcher, "base", &settings.base.text).await?;
        if settings.groups.from != GroupsFrom::None {
            exists(searcher, "groups.base", &settings.groups.base.text).await?;
        }
        let filter = settings.filter.fill(Values { user: "callgate-check", dn: "" });
        let filter = filter.ok_or("`filter` cannot be built")?;
        let search = searcher.first(&settings.base.text, settings.scope, filter, &["1.1"], 2);
        search.await.map_err(|error| reason("the search for a user", error))?;
        if searcher.references() > 0 {
            report.notes.push(format!(
                "referrals to other servers: {}. They are never followed, so their users are not found",
                searcher.references()
            ));
        }
        Ok(())
    }

    /// OpenLDAP ignores the rule of `in-chain`, and returns no groups without an error.
    async fn probe_schema(
        &self,
        searcher: &mut Searcher<'_>,
        report: &mut ProbeReport,
    ) -> Result<(), BackendError> {
        let capabilities = "supportedCapabilities";
        let root = read(searcher, "", capabilities).await;
        let root = root.map_err(|error| reason("reading the root DSE", error))?;
        let is_active_directory = root
            .iter()
            .flat_map(|entry| entry.values(capabilities))
            .any(|value| value == ACTIVE_DIRECTORY.as_bytes());
        let expects_it = self.settings.schema == Schema::ActiveDirectory;
        let needs_rule = self.settings.groups.nested == Nested::InChain;
        match (is_active_directory, expects_it, needs_rule) {
            (false, true, _) => Err("the server is not Active Directory: change `schema`".into()),
            (false, false, true) => Err("the server is not Active Directory, so it cannot \
                resolve `groups.nested = \"in-chain\"`: set a number of levels"
                .into()),
            (true, false, _) => {
                let warning = "the server is Active Directory: set `schema = \"active-directory\"`";
                report.warnings.push(warning.to_owned());
                Ok(())
            }
            (true, true, _) | (false, false, false) => Ok(()),
        }
    }
}

async fn exists(searcher: &mut Searcher<'_>, key: &str, dn: &str) -> Result<(), BackendError> {
    let found = read(searcher, dn, "1.1").await;
    let found = found.map_err(|error| reason(&format!("reading `{key}`"), error))?;
    match found.is_empty() {
        true => {
            Err(format!("`{key}` does not exist, or the service account may not read it").into())
        }
        false => Ok(()),
    }
}

/// Reads one attribute of one entry.
async fn read(
    searcher: &mut Searcher<'_>,
    dn: &str,
    attribute: &str,
) -> Result<Vec<Entry>, QueryError> {
    let malformed = |()| QueryError::unusable("the filter cannot be built");
    let filter = parse_filter("(objectClass=*)").map_err(malformed)?;
    searcher.search(dn, Scope::Base, filter, &[attribute], 1).await
}

fn reason(what: &str, error: QueryError) -> BackendError {
    format!("{what} failed: {error}").into()
}
