//! Ends a process whose event loop stalls: its place in the queue group goes to the others.
//!
//! NATS hands requests to every member of a queue group, also to one that does not answer. A
//! stalled replica would swallow its share for ever.

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

/// How often the event loop shows that it lives.
const BEAT: Duration = Duration::from_millis(100);
/// How long it may be silent.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the log may take to say why.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// The exit code of a stalled process.
const STALLED: i32 = 70;

/// Starts the watch. Call it on the runtime that is to be watched.
///
/// # Errors
/// If the thread cannot be started.
pub(crate) fn start() -> std::io::Result<()> {
    let beats = Arc::new(AtomicU64::new(0));
    let heart = Arc::clone(&beats);
    let supervisor = Supervisor::of(|name| std::env::var_os(name));
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(BEAT);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = Instant::now();
        loop {
            interval.tick().await;
            heart.fetch_add(1, Ordering::Relaxed);
            if let Some(supervisor) = supervisor.as_ref().filter(|s| told.elapsed() >= s.every) {
                supervisor.tell();
                told = Instant::now();
            }
        }
    });
    std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || watch(&beats))?;
    Ok(())
}

/// systemd, if it wants to hear that we live (`WatchdogSec=`): it can end a process that was stopped as
/// a whole, where no thread of ours can (sd_notify(3), sd_watchdog_enabled(3)).
#[derive(Debug)]
struct Supervisor {
    socket: UnixDatagram,
    every: Duration,
}

impl Supervisor {
    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let text = |name| variable(name)?.into_string().ok();
        let within = Duration::from_micros(text("WATCHDOG_USEC")?.parse().ok()?);
        // Meant for another process, from which we have inherited it.
        let ours = std::process::id().to_string();
        if text("WATCHDOG_PID").is_some_and(|pid| pid != ours) {
            return None;
        }
        let socket = socket_to(&variable("NOTIFY_SOCKET")?)
            .inspect_err(|error| tracing::warn!(%error, "systemd's NOTIFY_SOCKET cannot be used"));
        Some(Self { socket: socket.ok()?, every: within / 4 })
    }

    fn tell(&self) {
        // A full socket is its reader's fault: the next beat says the same.
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

/// Says why, if it can be said: the loop may stand still because a disk hangs to which the log is written, and
/// then this must not wait for the log either.
fn tell() {
    let (told, wait) = std::sync::mpsc::channel();
    let say = move || {
        tracing::error!("the event loop has not moved for 2 s: exiting, so that others take over");
        crate::telemetry::flush_log();
        // Nobody waits any more if it took too long.
        let _ = told.send(());
    };
    if std::thread::Builder::new().name("last words".to_owned()).spawn(say).is_ok() {
        let _ = wait.recv_timeout(LAST_WORDS);
    }
}

/// Counts its own rounds rather than the clock: a process that was stopped and continued, or a
/// machine that slept, was not stalled.
fn watch(beats: &AtomicU64) {
    let rounds = PATIENCE.as_millis() / BEAT.as_millis();
    let (mut seen, mut silent) = (beats.load(Ordering::Relaxed), 0);
    loop {
        std::thread::sleep(BEAT);
        let now = beats.load(Ordering::Relaxed);
        silent = if now == seen { silent + 1 } else { 0 };
        seen = now;
        if silent > rounds {
            tell();
            std::process::exit(STALLED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supervisor(socket: &str, pid: Option<&str>) -> Option<Supervisor> {
        Supervisor::of(|name| match name {
            "NOTIFY_SOCKET" => Some(socket.into()),
            "WATCHDOG_USEC" => Some("2000000".into()),
            "WATCHDOG_PID" => pid.map(OsString::from),
            _ => None,
        })
    }

    #[test]
    fn systemd_hears_that_we_live_often_enough() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let own = std::process::id().to_string();
        let supervisor = supervisor(path.to_str().unwrap(), Some(&own)).unwrap();
        assert_eq!(supervisor.every, Duration::from_millis(500));
        supervisor.tell();
        let mut heard = [0; 32];
        let length = systemd.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"WATCHDOG=1");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_socket_is_one_too() {
        use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
        let name = format!("callgate-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let systemd = UnixDatagram::bind_addr(&address).unwrap();
        supervisor(&format!("@{name}"), None).unwrap().tell();
        let mut heard = [0; 32];
        assert_eq!(systemd.recv(&mut heard).unwrap(), b"WATCHDOG=1".len());
    }

    #[test]
    fn what_is_meant_for_another_process_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _systemd = UnixDatagram::bind(&path).unwrap();
        assert!(supervisor(path.to_str().unwrap(), Some("1")).is_none());
        assert!(Supervisor::of(|_| None).is_none());
    }
}
