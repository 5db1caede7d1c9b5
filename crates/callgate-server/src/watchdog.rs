//! Ends the process if its event loop stalls, so that other replicas get its requests.
//!
//! NATS distributes requests to all members of a queue group, including one that does not answer. A stalled
//! replica would leave its share of the requests unanswered.

use std::{
    ffi::{OsStr, OsString},
    os::unix::{ffi::OsStrExt, net::UnixDatagram},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Time between heartbeats of the event loop.
const BEAT: Duration = Duration::from_millis(100);
/// A loop without a heartbeat for this long has stalled.
const STALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long writing the last log record may take.
const LOG_TIMEOUT: Duration = Duration::from_millis(200);
/// Exit code of a stalled process.
const STALLED: i32 = 70;

/// Starts to watch the current runtime.
///
/// # Errors
/// If the watchdog thread cannot be started.
pub(crate) fn start() -> std::io::Result<()> {
    let beats = Arc::new(AtomicU64::new(0));
    let heartbeat = Arc::clone(&beats);
    let systemd = Systemd::from_env(|name| std::env::var_os(name));
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(BEAT);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut notified = Instant::now();
        loop {
            interval.tick().await;
            heartbeat.fetch_add(1, Ordering::Relaxed);
            if let Some(systemd) = systemd.as_ref().filter(|it| notified.elapsed() >= it.interval) {
                systemd.notify();
                notified = Instant::now();
            }
        }
    });
    std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || watch(&beats))?;
    Ok(())
}

/// systemd's watchdog (`WatchdogSec=`), which also ends a process that is frozen as a whole
/// (sd_notify(3), sd_watchdog_enabled(3)).
///
/// The crate `sd-notify` supports neither abstract sockets nor sends that do not block the event loop.
#[derive(Debug)]
struct Systemd {
    socket: UnixDatagram,
    interval: Duration,
}

impl Systemd {
    fn from_env(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let text = |name| variable(name)?.into_string().ok();
        let timeout = Duration::from_micros(text("WATCHDOG_USEC")?.parse().ok()?);
        // The variables may be inherited from a process that they were set for.
        let own_pid = std::process::id().to_string();
        if text("WATCHDOG_PID").is_some_and(|pid| pid != own_pid) {
            return None;
        }
        let socket = socket_to(&variable("NOTIFY_SOCKET")?)
            .inspect_err(|error| tracing::warn!(%error, "cannot use NOTIFY_SOCKET of systemd"));
        Some(Self { socket: socket.ok()?, interval: timeout / 4 })
    }

    fn notify(&self) {
        // If the socket is full, the next heartbeat tries again.
        let _ = self.socket.send(b"WATCHDOG=1");
    }
}

fn socket_to(name: &OsStr) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match name.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
            socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        }
        _ => socket.connect(name)?,
    }
    Ok(socket)
}

/// Logs the stall without waiting for the log: a hanging disk that the log is written to may be the cause.
fn log_stall() {
    let (done, wait) = std::sync::mpsc::channel();
    let log = move || {
        tracing::error!("event loop stalled for 2 s: exiting so that other replicas take over");
        crate::telemetry::flush_log();
        // Fails if the wait has timed out.
        let _ = done.send(());
    };
    if std::thread::Builder::new().name("stall log".to_owned()).spawn(log).is_ok() {
        let _ = wait.recv_timeout(LOG_TIMEOUT);
    }
}

/// Counts rounds of this thread instead of reading a clock, because a process that was stopped and
/// continued, or a machine that was suspended, has not stalled.
fn watch(beats: &AtomicU64) {
    let rounds = STALL_TIMEOUT.as_millis() / BEAT.as_millis();
    let mut seen = beats.load(Ordering::Relaxed);
    let mut silent = 0;
    loop {
        std::thread::sleep(BEAT);
        let now = beats.load(Ordering::Relaxed);
        silent = if now == seen { silent + 1 } else { 0 };
        seen = now;
        if silent > rounds {
            log_stall();
            std::process::exit(STALLED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn systemd(socket: &str, pid: Option<&str>) -> Option<Systemd> {
        Systemd::from_env(|name| match name {
            "NOTIFY_SOCKET" => Some(socket.into()),
            "WATCHDOG_USEC" => Some("2000000".into()),
            "WATCHDOG_PID" => pid.map(OsString::from),
            _ => None,
        })
    }

    #[test]
    fn systemd_is_notified_often_enough() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let own = std::process::id().to_string();
        let systemd = systemd(path.to_str().unwrap(), Some(&own)).unwrap();
        assert_eq!(systemd.interval, Duration::from_millis(500));
        systemd.notify();
        let mut heard = [0; 32];
        let length = receiver.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"WATCHDOG=1");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn abstract_notify_sockets_work() {
        use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
        let name = format!("callgate-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let receiver = UnixDatagram::bind_addr(&address).unwrap();
        systemd(&format!("@{name}"), None).unwrap().notify();
        let mut heard = [0; 32];
        assert_eq!(receiver.recv(&mut heard).unwrap(), b"WATCHDOG=1".len());
    }

    #[test]
    fn variables_of_another_process_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _receiver = UnixDatagram::bind(&path).unwrap();
        assert!(systemd(path.to_str().unwrap(), Some("1")).is_none());
        assert!(Systemd::from_env(|_| None).is_none());
    }
}
