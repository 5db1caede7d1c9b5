//! The machine runs out of log space, file descriptors or memory.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use callgate_testkit::{
    Service, eventually,
    files::write_private,
    ports::free_port,
    service::{self, Launch},
    wait::LONG,
};
use futures_util::FutureExt;
use serde_json::Value;

use crate::{
    binary::hash_password,
    client::{AttemptOutcome, Credential},
    fault::{Fault, NotRun},
    report::Observations,
    scene::Scene,
    trial::{Trial, seconds},
};

const FAMILY: &str = "resources";

/// The log is never writable.
pub const NO_LOG: Fault = Fault {
    family: FAMILY,
    name: "log not writable from the start",
    how: "standard error is /dev/full",
    story: || no_log().boxed_local(),
};

/// The log's file system fills up, and is freed.
pub const LOG_FILLS_UP: Fault = Fault {
    family: FAMILY,
    name: "log disk full, then freed",
    how: "standard error is a file on a tmpfs of 64 KiB",
    story: || log_fills_up().boxed_local(),
};

/// The reader of the log hangs.
pub const LOG_STUCK: Fault = Fault {
    family: FAMILY,
    name: "log reader hangs",
    how: "standard error is a pipe without a reader for 300 decisions",
    story: || log_stuck().boxed_local(),
};

/// Every file descriptor is in use.
pub const DESCRIPTORS: Fault = Fault {
    family: FAMILY,
    name: "file descriptor limit reached",
    how: "`prlimit --nofile` lowered to the number of open descriptors; a user is removed and the \
          configuration changed; later the limit is raised",
    story: || descriptors().boxed_local(),
};

/// Not enough memory for the next password hash.
pub const MEMORY: Fault = Fault {
    family: FAMILY,
    name: "low memory limit",
    how: "`prlimit --as` close to the memory in use before the first login; argon2id logins of \
          19 MiB each; then a supervisor restarts it without the limit",
    story: || memory().boxed_local(),
};

/// Every fault of this family.
pub const ALL: [Fault; 5] = [NO_LOG, LOG_FILLS_UP, LOG_STUCK, DESCRIPTORS, MEMORY];

/// Uses a fixed admin endpoint, because the log does not show it.
async fn logging_to(stderr: &Path) -> (Scene, Launch) {
    let admin = format!("127.0.0.1:{}", free_port());
    let launch =
        Launch { stderr: Some(stderr.to_owned()), admin: Some(admin.clone()), ..Launch::default() };
    (Scene::builder().replicas(0).admin(&admin).start().await, launch)
}

async fn no_log() -> Result<Observations, NotRun> {
    let (scene, launch) = logging_to(Path::new("/dev/full")).await;
    let service = Service::start(scene.folder(), &launch).await;
    service.ready().await;
    let mut trial = Trial::begins(service.view(), scene.clients()).await;
    trial.clients_try().await;
    trial.all_are_admitted();
    let lost = service.view().metric("callgate_log_lost_total").await;
    assert!(lost > 0.0, "lost records are counted: {lost}");
    trial.lasts();
    trial.recovers().await;
    Ok(trial.seen().await)
}

async fn log_fills_up() -> Result<Observations, NotRun> {
    let disk = Disk::new("64k").map_err(NotRun)?;
    let file = disk.path().join("log");
    let (scene, launch) = logging_to(&file).await;
    let service = Service::start(scene.folder(), &launch).await;
    service.ready().await;
    let mut trial = Trial::begins(service.view(), scene.clients()).await;
    service.view().metric_reaches("callgate_log_lost_total", 10.0).await;
    trial.more_clients_try().await;
    trial.all_are_admitted();
    trial.ends().await;
    // As log rotation by truncation does: the service continues at its position in the file.
    fs::OpenOptions::new().write(true).open(&file).and_then(|log| log.set_len(0)).expect("emptied");
    trial.recovers().await;
    eventually("the log to go on", LONG, async || {
        let log = fs::read(&file).unwrap_or_default();
        String::from_utf8_lossy(&log).contains("\"outcome\":").then_some(())
    })
    .await;
    trial.note("records from that period are lost; logging resumes when there is space");
    Ok(trial.seen().await)
}

async fn log_stuck() -> Result<Observations, NotRun> {
    let scene = Scene::builder().replicas(0).start().await;
    let pipe = scene.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()), "a pipe can be made");
    // Open for reading and writing, so that opening does not block; not read yet.
    let reader = fs::OpenOptions::new().read(true).write(true).open(&pipe).expect("a pipe");
    let admin = format!("127.0.0.1:{}", free_port());
    let folder = scene.variant("stuck", |text| text.replace("127.0.0.1:0", &admin));
    let launch = Launch { stderr: Some(pipe), admin: Some(admin), ..Launch::default() };
    let service = Service::start(&folder, &launch).await;
    service.ready().await;
    let mut clients = scene.clients();
    clients.at_once = 4;
    let mut trial = Trial::begins(service.view(), clients).await;
    // More than the pipe holds.
    let decided = "callgate_decision_duration_seconds_count";
    service.view().metric_reaches(decided, 300.0).await;
    trial.more_clients_try().await;
    trial.all_are_admitted();
    trial.ends().await;
    let lost = service.view().metric("callgate_log_lost_total").await;
    let written = tokio::task::spawn_blocking(move || {
        let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
        lines.by_ref().filter(|line| line.contains("\"outcome\":")).take(300).count()
    });
    assert_eq!(written.await.ok(), Some(300), "what was kept back is written");
    trial.note(format!(
        "{lost} records were lost; buffered records are written when the pipe is read"
    ));
    trial.recovers().await;
    Ok(trial.seen().await)
}

async fn descriptors() -> Result<Observations, NotRun> {
    let bob = "{ \"pass\": \"bob\", \"account\": \"APP\" }";
    let alice = "{ \"pass\": \"alice\", \"account\": \"APP\" }";
    let both = format!("{{ \"alice\": {alice}, \"bob\": {bob} }}");
    let mut scene = Scene::builder().file("users.json", &both).start().await;
    let view = scene.service().view();
    let url = scene.servers[0].url();
    assert!(admits_bob(&url).await, "bob is a user");
    let mut trial = Trial::begins(view.clone(), scene.clients()).await;
    scene.service().process.keep_descriptors_exhausted().await.map_err(NotRun)?;
    let config = fs::read_to_string(scene.path("callgate.toml")).expect("it was written");
    write_private(&scene.path("users.json"), &format!("{{ \"alice\": {alice} }}"));
    write_private(&scene.path("callgate.toml"), &format!("{config}\n# changed\n"));
    trial.says("the old users stay in force").await;
    trial.says("configuration reload failed; keeping the previous configuration").await;
    trial.clients_try().await;
    trial.all_are_admitted();
    trial.ends().await;
    // No signal and no further change: the service must notice on its own.
    let freed = Instant::now();
    scene.service().process.limit("nofile", 1024).map_err(NotRun)?;
    eventually("the removed user to be refused", LONG, async || {
        (!admits_bob(&url).await).then_some(())
    })
    .await;
    let refused = freed.elapsed();
    trial.says("configuration reloaded").await;
    trial.recovers().await;
    eventually("every file to be in force", LONG, async || {
        let metrics = view.metrics().await;
        let mut files =
            metrics.iter().filter(|(name, _)| name.starts_with("callgate_config_in_sync{"));
        let all = files.clone().count() > 1 && files.all(|(_, in_sync)| *in_sync == 1.0);
        all.then_some(())
    })
    .await;
    trial.note(format!(
        "a user was removed and the configuration changed during that time: both are in force {} \
         after descriptors are free again, without a signal",
        seconds(refused)
    ));
    Ok(trial.seen().await)
}

async fn admits_bob(url: &str) -> bool {
    let options = async_nats::ConnectOptions::with_user_and_password("bob".into(), "bob".into());
    options.connect(url).await.is_ok()
}

/// Hashed by `callgate hash-password`: 19 MiB for each login.
async fn memory() -> Result<Observations, NotRun> {
    let hash = hash_password("alice");
    let users = format!("{{ \"alice\": {{ \"pass\": \"{hash}\", \"account\": \"APP\" }} }}");
    let config = format!("{}\n[cache]\npasswords = \"0s\"\n", crate::scene::USERS);
    let scene = Scene::builder().authenticators(&config).file("users.json", &users);
    let mut scene = scene.start().await;
    let mut clients = scene.clients();
    clients.wrong.retain(|wrong| matches!(wrong, Credential::Password(..)));
    let mut trial = Trial::begins(scene.service().view(), clients).await;
    // Before its first login, which allocates the memory.
    let fresh = scene.one_more().await;
    fresh.ready().await;
    let needed = status_kib(fresh.process.pid(), "VmSize");
    drop(fresh);
    scene.service().terminate().await;
    for headroom in [-64, -16, 4, 12] {
        let kib = needed.saturating_add_signed(headroom * 1024);
        let note = starved(&scene, &trial, kib).await.map_err(NotRun)?;
        trial.note(format!("{headroom:+} MiB: {note}"));
    }
    trial.ends().await;
    // As a supervisor does.
    let fresh = scene.one_more().await;
    trial.watch(fresh.view());
    scene.replicas = vec![fresh];
    trial.recovers().await;
    Ok(trial.seen().await)
}

/// What becomes of a service that may have only so much memory.
async fn starved(scene: &Scene, trial: &Trial, kib: u64) -> Result<String, String> {
    let limit = format!("--as={}", kib * 1024);
    let before = ["prlimit", &limit, "--"].map(Into::into).to_vec();
    let mut process = service::start(scene.folder(), &Launch { before, ..Launch::default() });
    let began = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(status) = process.exit_status() {
            let text = process.stderr();
            if text.starts_with("prlimit: ") {
                return Err(text);
            }
            let when = if text.contains("ready: answering") { "at a login" } else { "at startup" };
            return Ok(format!("the process exits {when} ({status})"));
        }
        let attempts = trial.probe.right_between(began, Instant::now());
        let answered =
            attempts.iter().filter(|a| a.began > began && a.outcome == AttemptOutcome::Refused);
        if answered.count() > 3 {
            let reason = reason_for_alice(&process.stderr());
            process.kill();
            // The password could not be checked, so it must not be reported as wrong.
            assert_eq!(reason, "backend_unavailable", "for the valid client");
            return Ok(format!("logins are refused (`{reason}`)"));
        }
        let came_in = attempts.iter().filter(|a| a.began > began && a.is_admitted());
        if came_in.count() > 3 {
            process.kill();
            return Ok("enough: valid clients are admitted".to_owned());
        }
    }
}

/// Why the valid client was refused.
fn reason_for_alice(log: &str) -> String {
    let records = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut reasons = records
        .filter(|record| record["user"] == "alice" && record["outcome"] == "refused")
        .filter_map(|record| record["reason"].as_str().map(str::to_owned));
    reasons.find(|reason| reason != "bad_password").unwrap_or_else(|| "bad_password".to_owned())
}

fn status_kib(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("our own process");
    let line =
        status.lines().find(|line| line.starts_with(name)).expect("a line of /proc/PID/status");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

/// A small separate file system.
#[derive(Debug)]
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(size: &str) -> Result<Self, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .output();
        let output = output.map_err(|error| format!("cannot run `mount`: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        output.status.success().then_some(Self(folder)).ok_or(said)
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazy: the service may still have its log open.
        let _gone_already = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
