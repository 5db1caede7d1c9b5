//! The real service: the `callgate` binary, its log and its admin endpoint.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use callgate_testkit::{Process, eventually};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::probe::LONG;

/// How a gate is started.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// A command that runs the service, such as `prlimit …`; nothing to run it as it is.
    pub before: Vec<OsString>,
    /// Variables.
    pub variables: Vec<(String, OsString)>,
    /// Another binary with the same commands.
    pub binary: Option<PathBuf>,
    /// Where its admin endpoint is, if not on a port of its own choice on loopback.
    pub admin: Option<String>,
    /// The log goes here instead of to a file of the test.
    pub stderr: Option<PathBuf>,
}

/// A running service.
#[derive(Debug)]
pub struct Gate {
    /// The process.
    pub process: Process,
    view: View,
}

/// What can be asked of a gate while its process is played with.
#[derive(Debug, Clone)]
pub struct View {
    admin: String,
    log: PathBuf,
}

impl Gate {
    /// Starts it with the `callgate.toml` of a folder; it need not become ready.
    pub async fn start(folder: &Path, launch: &Launch) -> Self {
        let mut process = start(folder, launch);
        let admin = match &launch.admin {
            Some(admin) => admin.clone(),
            None => {
                let line = process.wait_for_stderr("serving /livez").await;
                let port = line.split("127.0.0.1:").nth(1).expect("an address of the loopback");
                let port: String = port.chars().take_while(char::is_ascii_digit).collect();
                format!("127.0.0.1:{port}")
            }
        };
        let view = View { admin, log: process.stderr_path() };
        Self { process, view }
    }

    /// What can be asked while the process is played with.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Waits until `/readyz` says yes.
    pub async fn ready(&self) {
        self.view.ready().await;
    }

    /// Ends it as an operator would; it must end well.
    pub async fn terminate(&mut self) {
        self.process.signal("TERM");
        let status = self.process.wait_for_exit(Duration::from_secs(15)).await;
        assert_eq!(status.code(), Some(0), "{}", self.view.log());
    }
}

/// Starts the process and waits for nothing.
pub fn start(folder: &Path, launch: &Launch) -> Process {
    let binary = launch.binary.clone().unwrap_or_else(binary);
    let mut command = launch.before.clone();
    command.push(binary.into());
    command.extend(["serve", "--config", "callgate.toml"].map(OsString::from));
    if let Some(stderr) = &launch.stderr {
        // A shell opens the file, as a supervisor would, and becomes the service.
        let script = "exec \"$@\" 2>\"$0\"";
        let shell = [OsString::from("sh"), "-c".into(), script.into(), stderr.into()];
        command.splice(0..0, shell);
    }
    let mut builder =
        Process::builder("callgate", &command[0]).args(&command[1..]).current_dir(folder);
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        // Variables of the service would configure it; that of this tool is none.
        if name.starts_with("CALLGATE_") {
            builder = builder.env_remove(&name);
        }
    }
    for (name, value) in &launch.variables {
        builder = builder.env(name, value);
    }
    builder.start()
}

impl View {
    /// Waits until `/readyz` says yes.
    pub async fn ready(&self) {
        eventually("callgate to be ready", LONG, async || {
            matches!(self.get("/readyz").await, Some((200, _))).then_some(())
        })
        .await;
    }

    /// Waits until `/readyz` says no; why.
    pub async fn not_ready(&self) -> String {
        eventually("callgate not to be ready", LONG, async || match self.get("/readyz").await {
            Some((503, why)) => Some(why.trim().to_owned()),
            Some(_) | None => None,
        })
        .await
    }

    /// Status and body of a path of the admin endpoint; `None` if it does not answer.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        timeout(Duration::from_secs(2), get(&self.admin, path)).await.ok()?
    }

    /// All samples of `/metrics`; none if it does not answer.
    pub async fn metrics(&self) -> Vec<(String, f64)> {
        let Some((200, text)) = self.get("/metrics").await else { return Vec::new() };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| line.rsplit_once(' '));
        samples.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    }

    /// The sum of the samples whose names begin so.
    pub async fn metric(&self, begins: &str) -> f64 {
        let metrics = self.metrics().await;
        metrics.iter().filter(|(name, _)| name.starts_with(begins)).map(|(_, value)| value).sum()
    }

    /// Waits until that sum has at least this value.
    pub async fn metric_reaches(&self, begins: &str, value: f64) {
        eventually(&format!("{begins} to reach {value}"), LONG, async || {
            (self.metric(begins).await >= value).then_some(())
        })
        .await;
    }

    /// The log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Where the log ends now.
    pub fn mark(&self) -> usize {
        self.log().len()
    }

    /// Records after a mark.
    pub fn records(&self, mark: usize) -> Vec<Value> {
        let log = self.log();
        let lines = log.get(mark..).unwrap_or_default().lines();
        lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a line of the log after a mark that has this text.
    pub async fn says(&self, mark: usize, text: &str) -> String {
        eventually(&format!("`{text}` in the log"), LONG, async || {
            let log = self.log();
            let mut lines = log.get(mark..).unwrap_or_default().lines();
            lines.find(|line| line.contains(text)).map(str::to_owned)
        })
        .await
    }
}

/// Status and body of a path of an HTTP server.
pub async fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// The service's binary, built now unless `CALLGATE_BIN` names another.
pub fn binary() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

/// The service with authenticators that misbehave: cargo builds it together with whatever runs this.
pub fn faulty_binary() -> PathBuf {
    let this = env::current_exe().expect("this program has a file");
    let mut folders = this.ancestors().skip(1).map(|folder| folder.join("callgate-with-faults"));
    folders.find(|file| file.is_file()).expect("`cargo build` and `cargo test` build it")
}

fn build() -> PathBuf {
    if let Some(named) = env::var_os("CALLGATE_BIN") {
        return PathBuf::from(named);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("a workspace");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", "callgate-server"])
        .current_dir(root)
        .status()
        .expect("cargo starts");
    assert!(built.success(), "callgate does not build");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("debug").join("callgate")
}

/// The service's binary where anybody may run it.
pub fn copied_to(folder: &Path) -> PathBuf {
    let copy = folder.join("callgate");
    // A link would lead through folders that are only root's.
    std::fs::copy(binary(), &copy).expect("the binary can be copied");
    copy
}

/// A password hashed with `callgate hash-password`: argon2id, 19 MiB.
pub fn hash_password(password: &str) -> String {
    let script = format!("printf %s '{password}' | \"$0\" hash-password");
    let output = Command::new("sh").args(["-c", &script]).arg(binary()).output();
    let hash = String::from_utf8(output.expect("there is a shell").stdout).expect("a hash");
    assert!(hash.starts_with("$argon2id$"), "no hash: {hash}");
    hash.trim().to_owned()
}
