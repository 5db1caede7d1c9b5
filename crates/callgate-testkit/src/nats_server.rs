//! A real nats-server per test: on free loopback ports, gone when the test is.
//!
//! ```no_run
//! # async fn example() {
//! use callgate_testkit::NatsServer;
//!
//! let server = NatsServer::start(r#"authorization { user: app, password: secret }"#).await;
//! let old = NatsServer::builder()
//!     .version("2.10")
//!     .config("websocket { listen: \"127.0.0.1:{{websocket_port}}\", no_tls: true }")
//!     .start()
//!     .await;
//! println!("{} {}", server.url(), old.websocket_url());
//! # }
//! ```

mod config;
mod versions;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::config::{Config, Port};
pub use self::versions::{Version, installed_versions};
use crate::process::Process;
use crate::wait::{PATIENCE, eventually};

/// How often to retry because another process took a port.
const PORT_RACES: usize = 5;
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// A running nats-server. Killed on drop; its log is printed and kept when the test panics.
#[derive(Debug)]
pub struct NatsServer {
    process: Process,
    launch: Launch,
}

/// How to start a server: version, configuration, additional files.
#[derive(Debug, Default)]
pub struct NatsServerBuilder {
    version: Option<String>,
    config: String,
    files: Vec<(String, Vec<u8>)>,
    arguments: Vec<String>,
}

/// Everything that a restart needs.
#[derive(Debug)]
struct Launch {
    binary: PathBuf,
    config: Config,
    arguments: Vec<String>,
    folder: TempDir,
}

impl NatsServer {
    /// Starts the default server with a configuration; see [`NatsServerBuilder::config`].
    ///
    /// # Panics
    /// As [`NatsServerBuilder::start`].
    pub async fn start(config: &str) -> Self {
        Self::builder().config(config).start().await
    }

    /// A server to configure.
    pub fn builder() -> NatsServerBuilder {
        NatsServerBuilder::default()
    }

    /// `nats://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port())
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.port_of(Port::Client)
    }

    /// `ws://127.0.0.1:PORT`
    ///
    /// # Panics
    /// If the configuration has no `{{websocket_port}}`.
    pub fn websocket_url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port_of(Port::WebSocket))
    }

    /// The port for MQTT clients.
    ///
    /// # Panics
    /// If the configuration has no `{{mqtt_port}}`.
    pub fn mqtt_port(&self) -> u16 {
        self.port_of(Port::Mqtt)
    }

    /// The port for leaf nodes.
    ///
    /// # Panics
    /// If the configuration has no `{{leaf_port}}`.
    pub fn leaf_port(&self) -> u16 {
        self.port_of(Port::Leaf)
    }

    /// The port for routes from other servers of a cluster.
    ///
    /// # Panics
    /// If the configuration has no `{{cluster_port}}`.
    pub fn cluster_port(&self) -> u16 {
        self.port_of(Port::Cluster)
    }

    /// `http://127.0.0.1:PORT`
    ///
    /// # Panics
    /// If the configuration has no `{{monitor_port}}`.
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port_of(Port::Monitor))
    }

    /// The folder that `{{dir}}` stands for.
    pub fn folder(&self) -> &Path {
        self.launch.folder.path()
    }

    /// The process id; another one after a restart.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The log since the last start.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// The first line of the log that contains `text`.
    ///
    /// # Panics
    /// If there is none within ten seconds, or the server ends before.
    pub async fn wait_for_log(&mut self, text: &str) -> String {
        self.process.wait_for_stderr(text).await
    }

    /// Stops the server with SIGTERM, and after five seconds with SIGKILL.
    pub async fn stop(&mut self) {
        self.process.signal("CONT");
        self.process.signal("TERM");
        let exit = async || self.process.exit_status();
        let _killed_next = timeout(STOP_DEADLINE, eventually("its end", PATIENCE, exit)).await;
        self.process.kill();
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Restarts the server with the same ports, files and configuration.
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.process = self.launch.start_process();
        if let Err(error) = self.launch.ready(&mut self.process).await {
            panic!("nats-server does not restart: {error:?}");
        }
    }

    /// The same with another configuration; placeholders keep their ports.
    ///
    /// # Panics
    /// If it does not become ready, or the text has a placeholder for a port that the old one had not.
    pub async fn restart_with(&mut self, config: &str) {
        self.launch.config.replace(config);
        self.launch.write_config();
        self.restart().await;
    }

    /// Stops every thread of the server: its connections stay open and nothing answers.
    ///
    /// # Panics
    /// If it still runs after ten seconds.
    pub async fn freeze(&mut self) {
        self.process.freeze().await;
    }

    /// Ends a [`NatsServer::freeze`].
    pub fn thaw(&mut self) {
        self.process.signal("CONT");
    }

    /// Reloads the server with another configuration; placeholders keep their ports.
    ///
    /// # Panics
    /// If the server does not take it within ten seconds, or the text has a placeholder for a port that
    /// the old one had not.
    pub async fn reload(&mut self, config: &str) {
        self.launch.config.replace(config);
        self.launch.write_config();
        let seen = self.log().len();
        self.process.signal("HUP");
        self.process.wait_for_stderr_after(seen, "Reloaded server configuration").await;
    }

    /// The same, with a changed copy of the current configuration.
    ///
    /// # Panics
    /// As [`NatsServer::reload`].
    pub async fn reload_changed(&mut self, change: impl FnOnce(&str) -> String) {
        let config = change(self.launch.config.text());
        self.reload(&config).await;
    }

    fn port_of(&self, port: Port) -> u16 {
        self.launch.config.port(port)
    }
}

impl NatsServerBuilder {
    /// A version, whole (`2.10.26`) or in part (`2.10`: the newest of those installed). Without one it is
    /// the default server of `make tools`.
    pub fn version(mut self, version: &str) -> Self {
        self.version = Some(version.to_owned());
        self
    }

    /// The configuration. In it stand `{{port}}`, `{{websocket_port}}`, `{{mqtt_port}}`, `{{leaf_port}}`,
    /// `{{cluster_port}}` and `{{monitor_port}}` for free ports and `{{dir}}` for a folder of this server.
    /// A text without `{{port}}` is preceded by a loopback `listen`. It must not set `log_file`.
    pub fn config(mut self, text: &str) -> Self {
        text.clone_into(&mut self.config);
        self
    }

    /// A file in `{{dir}}`, such as a certificate.
    pub fn file(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.files.push((name.to_owned(), content.as_ref().to_vec()));
        self
    }

    /// A command-line argument, such as `-DV`.
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Panics
    /// If that version is not installed, or the server does not become ready in ten seconds.
    pub async fn start(self) -> NatsServer {
        let mut launch = self.prepare();
        for _ in 0..PORT_RACES {
            let mut process = launch.start_process();
            match launch.ready(&mut process).await {
                Ok(()) => return NatsServer { process, launch },
                Err(NotReady::PortTaken) => launch.take_other_ports(),
                Err(NotReady::Ended(how)) => panic!("nats-server does not start: {how}"),
            }
        }
        panic!("nats-server found its ports taken {PORT_RACES} times");
    }

    fn prepare(self) -> Launch {
        let folder = tempfile::Builder::new()
            .prefix("callgate-nats-")
            .tempdir()
            .expect("a temporary directory can be made");
        for (name, content) in &self.files {
            fs::write(folder.path().join(name), content).expect("a file can be written");
        }
        let binary = versions::binary(self.version.as_deref());
        let config = Config::new(&self.config);
        let launch = Launch { binary, config, arguments: self.arguments, folder };
        launch.write_config();
        launch
    }
}

/// Why a server cannot become ready.
#[derive(Debug)]
enum NotReady {
    PortTaken,
    Ended(String),
}

impl Launch {
    fn config_file(&self) -> PathBuf {
        self.folder.path().join("nats-server.conf")
    }

    fn write_config(&self) {
        let text = self.config.render(self.folder.path());
        fs::write(self.config_file(), text).expect("the configuration can be written");
    }

    fn take_other_ports(&mut self) {
        self.config.take_other_ports();
        self.write_config();
    }

    fn start_process(&self) -> Process {
        Process::builder("nats-server", &self.binary)
            .arg("--config")
            .arg(self.config_file())
            .args(&self.arguments)
            .current_dir(self.folder.path())
            .start()
    }

    async fn ready(&self, process: &mut Process) -> Result<(), NotReady> {
        let port = self.config.port(Port::Client);
        // A server that waits for a TLS handshake sends nothing first: only its log shows that it is ready.
        let says_info = !self.config.mentions("handshake_first");
        eventually("nats-server to be ready", PATIENCE, async || {
            if let Some(error) = ended(process) {
                return Some(Err(error));
            }
            let ready = process.stderr().contains("Server is ready");
            (ready && (!says_info || reads_info(port).await)).then_some(Ok(()))
        })
        .await
    }
}

fn ended(process: &mut Process) -> Option<NotReady> {
    let status = process.exit_status()?;
    let log = process.stderr();
    let taken = log.contains("address already in use");
    Some(if taken { NotReady::PortTaken } else { NotReady::Ended(format!("{status}\n{log}")) })
}

async fn reads_info(port: u16) -> bool {
    let info = timeout(Duration::from_secs(2), first_line(port)).await;
    matches!(info, Ok(Ok(line)) if line.starts_with("INFO {"))
}

async fn first_line(port: u16) -> std::io::Result<String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut lines = BufReader::new(stream).lines();
    lines.next_line().await?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
}
