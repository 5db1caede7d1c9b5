//! OpenLDAP's slapd, as `make tools` installed it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::oidc_provider::Authority;
use crate::ports::free_port;
use crate::process::Process;
use crate::tools::installed;
use crate::wait::{PATIENCE, eventually};

const SUFFIX: &str = "dc=example,dc=org";
const ADMIN: &str = "cn=admin,dc=example,dc=org";
const ADMIN_PASSWORD: &str = "canary-admin";

/// A running slapd with the suffix `dc=example,dc=org`, the overlays `memberof` and `ppolicy` (three
/// failed binds lock an account), and anonymous binds with a name allowed.
///
/// It listens on one port without TLS, where StartTLS works, and on one with TLS.
#[derive(Debug)]
pub struct Slapd {
    process: Process,
    folder: TempDir,
    ports: Ports,
    authority: Box<Authority>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    ldap: u16,
    ldaps: u16,
}

/// How a slapd differs from the usual one.
#[derive(Debug, Clone, Copy, Default)]
pub struct SlapdOptions {
    /// It has no certificate: StartTLS fails, and nothing listens on the port for TLS.
    pub without_tls: bool,
    /// Its certificate is for another host.
    pub other_name: bool,
}

impl Slapd {
    /// Starts one with the entries of an LDIF.
    ///
    /// # Panics
    /// If it is not installed, or does not start, or refuses an entry.
    pub async fn start(ldif: &str) -> Self {
        Self::start_with(ldif, SlapdOptions::default()).await
    }

    /// The same with options.
    ///
    /// # Panics
    /// As [`Slapd::start`].
    pub async fn start_with(ldif: &str, options: SlapdOptions) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let ports = Ports { ldap: free_port(), ldaps: free_port() };
        fs::create_dir(folder.path().join("data")).expect("our own folder");
        let authority = Box::new(Authority::new("slapd of a test"));
        write_config(folder.path(), &authority, options);
        let process = spawn(folder.path(), ports, options);
        let this = Self { process, folder, ports, authority };
        this.wait_until_it_answers().await;
        this.add(ldif);
        this
    }

    /// `ldap://127.0.0.1:…`
    pub fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.ports.ldap)
    }

    /// The port of [`Slapd::url`].
    pub fn port(&self) -> u16 {
        self.ports.ldap
    }

    /// `ldaps://127.0.0.1:…`
    pub fn tls_url(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.ports.ldaps)
    }

    /// The PEM file of the authority that signed its certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The name and password of its administrator.
    pub fn admin(&self) -> (&'static str, &'static str) {
        (ADMIN, ADMIN_PASSWORD)
    }

    /// The process, to freeze or kill it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it and starts it again on the same ports, with the same entries.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn restart(&mut self) {
        self.restart_with(SlapdOptions::default()).await;
    }

    /// The same with options.
    ///
    /// # Panics
    /// As [`Slapd::restart`].
    pub async fn restart_with(&mut self, options: SlapdOptions) {
        self.process.kill();
        write_config(self.folder.path(), &self.authority, options);
        self.process = spawn(self.folder.path(), self.ports, options);
        self.wait_until_it_answers().await;
    }

    /// Adds or, with `changetype`, changes entries.
    ///
    /// # Panics
    /// If slapd refuses one.
    pub fn add(&self, ldif: &str) {
        let mut child = self
            .client("ldapadd")
            .args(["-M", "-e", "relax"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ldapadd is installed");
        let written = child.stdin.take().map(|mut stdin| stdin.write_all(ldif.as_bytes()));
        assert!(matches!(written, Some(Ok(()))), "ldapadd does not read");
        succeeded(&child.wait_with_output().expect("a child can be waited for"));
    }

    /// The values of an attribute of one entry, also an operational one.
    ///
    /// # Panics
    /// If the search fails.
    pub fn values(&self, dn: &str, attribute: &str) -> Vec<String> {
        let mut search = self.client("ldapsearch");
        search.args(["-LLL", "-o", "ldif-wrap=no", "-M", "-s", "base", "-b", dn, attribute]);
        let output = search.output().expect("ldapsearch is installed");
        let found = succeeded(&output);
        let prefix = format!("{attribute}: ");
        found.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(installed("slapd/bin").join(program));
        // Settings of the machine must not matter.
        command.env("LDAPNOINIT", "1");
        command.args(["-x", "-H", &self.url(), "-D", ADMIN, "-w", ADMIN_PASSWORD]);
        command
    }

    async fn wait_until_it_answers(&self) {
        let address = ("127.0.0.1", self.ports.ldap);
        eventually("a slapd that listens", PATIENCE, async || {
            TcpStream::connect(address).await.ok().map(drop)
        })
        .await;
    }
}

fn spawn(folder: &Path, ports: Ports, options: SlapdOptions) -> Process {
    let mut urls = format!("ldap://127.0.0.1:{}", ports.ldap);
    if !options.without_tls {
        urls += &format!(" ldaps://127.0.0.1:{}", ports.ldaps);
    }
    let config = folder.join("slapd.conf");
    Process::builder("slapd", installed("slapd/bin/slapd"))
        .args(["-h", &urls, "-d", "0", "-f"])
        .arg(config)
        .start()
}

fn write_config(folder: &Path, authority: &Authority, options: SlapdOptions) {
    let root = installed("slapd/root");
    let write =
        |name: &str, text: &str| fs::write(folder.join(name), text).expect("our own folder");
    let name = if options.other_name { "other.example" } else { "127.0.0.1" };
    let (certificate, key) = authority.server_pem_for(&[name]);
    write("ca.pem", authority.pem());
    write("server.pem", &certificate);
    write("server.key", &key);
    let root = root.display();
    let folder = folder.display();
    let tls = match options.without_tls {
        true => String::new(),
        false => format!(
            "TLSCertificateFile {folder}/server.pem\nTLSCertificateKeyFile {folder}/server.key\n"
        ),
    };
    let config = format!(
        r#"include {root}/etc/ldap/schema/core.schema
include {root}/etc/ldap/schema/cosine.schema
include {root}/etc/ldap/schema/inetorgperson.schema
modulepath {root}/usr/lib/ldap
moduleload back_mdb
moduleload memberof
moduleload ppolicy
pidfile {folder}/pid
allow bind_anon_cred
{tls}
database mdb
suffix "{SUFFIX}"
rootdn "{ADMIN}"
rootpw {ADMIN_PASSWORD}
directory {folder}/data
dbnosync
overlay memberof
overlay ppolicy
ppolicy_default "cn=default,ou=policies,{SUFFIX}"
database monitor
"#
    );
    write("slapd.conf", &config);
}

fn succeeded(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
