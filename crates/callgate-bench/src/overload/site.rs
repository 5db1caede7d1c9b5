//! A nats-server and a `callgate serve` of their own, gone when the site is dropped.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use callgate::keys::{AccountSigner, CurveKey, Signer as _};
use serde_json::json;

use super::cores::Cores;
use crate::{Failure, cpu::usage, premade::Target};

/// How long a process may take to be there.
const PATIENCE: Duration = Duration::from_secs(30);
/// The token of the user `machine`.
pub(super) const TOKEN: &str = "a-token-of-a-machine-0123456789";

/// Both processes, and how they are reached.
#[derive(Debug)]
pub(super) struct Site {
    callgate: Process,
    _server: Process,
    folder: tempfile::TempDir,
    pub(super) address: SocketAddr,
    pub(super) target: Target,
}

/// What the site is made of.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) nats_server: &'a Path,
    pub(super) callgate: &'a Path,
    /// If the service has a core for itself.
    pub(super) cores: Option<&'a Cores>,
    pub(super) workers: usize,
    /// Users `u0`, `u1`, …
    pub(super) users: usize,
    /// The stored hash of all of them.
    pub(super) hash: &'a str,
}

#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _status = self.0.wait();
    }
}

impl Site {
    pub(super) fn start(plan: &Plan<'_>) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let (nats, admin) = (free_port()?, free_port()?);
        let server_config = format!(
            "listen: \"{nats}\"\naccounts {{ AUTH {{ users: [ {{ user: auth, password: auth }}, \
             {{ user: bench, password: bench }} ] }} }}\n"
        );
        fs::write(folder.path().join("nats-server.conf"), server_config)?;
        let server = spawn(plan.nats_server, None, folder.path(), &["-c", "nats-server.conf"])?;
        wait_for("nats-server", || TcpStream::connect(nats).is_ok())?;
        let target = configure(folder.path(), plan, nats, admin)?;
        let serve = ["serve", "--config", "callgate.toml"];
        let callgate = spawn(plan.callgate, plan.cores, folder.path(), &serve)?;
        let site = Self { callgate, _server: server, folder, address: nats, target };
        wait_for("callgate", || is_ready(admin))
            .map_err(|error| format!("{error}\n{}", site.log_of_callgate()))?;
        Ok(site)
    }

    /// Memory that Callgate has now, and the most that it ever had, in MiB.
    pub(super) fn memory(&self) -> Option<(f64, f64)> {
        let pid = self.callgate.0.id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let resident: f64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some((resident / 1024.0, usage(pid)?.peak as f64 / (1024.0 * 1024.0)))
    }

    /// CPU time that Callgate has used, in milliseconds.
    pub(super) fn cpu(&self) -> Option<f64> {
        Some(usage(self.callgate.0.id())?.cpu.as_secs_f64() * 1e3)
    }

    fn log_of_callgate(&self) -> String {
        fs::read_to_string(self.folder.path().join("callgate.log")).unwrap_or_default()
    }
}

fn configure(
    folder: &Path,
    plan: &Plan<'_>,
    nats: SocketAddr,
    admin: SocketAddr,
) -> Result<Target, Failure> {
    let (issuer, curve) = (AccountSigner::generate()?, CurveKey::generate()?);
    let target =
        Target { issuer: issuer.public_key().clone(), xkey: Some(curve.public_key().clone()) };
    private(&folder.join("issuer.nk"), issuer.seed().expose())?;
    private(&folder.join("gate.xk"), curve.seed().expose())?;
    let users: serde_json::Map<_, _> = (0..plan.users)
        .map(|number| (format!("u{number}"), json!({"password": plan.hash, "account": "APP"})))
        .chain([("machine".to_owned(), json!({"token": TOKEN, "account": "APP"}))])
        .collect();
    private(&folder.join("users.json"), &serde_json::to_string(&users)?)?;
    let workers = plan.workers;
    let config = format!(
        "[nats]\nservers = [\"nats://{nats}\"]\nuser = \"auth\"\npassword = \"auth\"\n\
         [issuer]\nseed = {{ file = \"issuer.nk\" }}\nxkeys = [{{ file = \"gate.xk\" }}]\n\
         [[authenticators]]\nname = \"staff\"\n[authenticators.users]\nfile = \"users.json\"\n\
         [admission]\npassword_workers = {workers}\n\
         [admin]\nlisten = \"{admin}\"\n[log]\nlevel = \"info\"\n"
    );
    private(&folder.join("callgate.toml"), &config)?;
    Ok(target)
}

fn private(path: &Path, text: &str) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    Ok(options.open(path)?.write_all(text.as_bytes())?)
}

fn spawn(
    program: &Path,
    cores: Option<&Cores>,
    folder: &Path,
    arguments: &[&str],
) -> Result<Process, Failure> {
    let name = program.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let log: PathBuf = folder.join(format!("{name}.log"));
    // It runs in another folder, from which a relative path would lead elsewhere; a bare name is
    // looked for as ever.
    let program = match program.components().count() {
        1 => program.to_owned(),
        _ => std::path::absolute(program)?,
    };
    let mut command = cores.map_or_else(|| Command::new(&program), |cores| cores.command(&program));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(fs::File::create(log)?);
    let child = command.spawn();
    child.map(Process).map_err(|error| format!("`{}`: {error}", program.display()).into())
}

fn wait_for(what: &str, is_there: impl Fn() -> bool) -> Result<(), Failure> {
    let until = Instant::now() + PATIENCE;
    while !is_there() {
        if Instant::now() > until {
            return Err(format!("{what} is not ready after {PATIENCE:?}").into());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn is_ready(admin: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(admin)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}

fn free_port() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
