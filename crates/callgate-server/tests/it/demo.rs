//! `make demo`: its output and files, and that it always stops its programs.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use callgate_testkit::{
    Process,
    pages::assert_current,
    tools,
    wait::{LONG, eventually},
};
use futures_util::future::join_all;
use tempfile::TempDir;

use crate::support::{CALLGATE, has};

const DEMO: &str = "exec python3 scripts/demo.py";

/// The demo in a checkout with the service already built.
struct Demo {
    folder: TempDir,
    process: Process,
}

impl Demo {
    fn start(command: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for part in ["scripts", "target/debug"] {
            fs::create_dir_all(folder.path().join(part)).unwrap();
        }
        for script in ["demo.py", "demo_picture.py", "release.py", "tools.py"] {
            let script = Path::new("scripts").join(script);
            fs::copy(root.join(&script), folder.path().join(&script)).unwrap();
        }
        symlink(CALLGATE, folder.path().join("target/debug/callgate")).unwrap();
        let process = Process::builder("the demo", "sh")
            .args(["-c", command])
            .env("CARGO", "true")
            .env("CARGO_TARGET_DIR", folder.path().join("target"))
            .env("CALLGATE_TOOLS", tools::folder())
            .current_dir(folder.path())
            .start();
        Self { folder, process }
    }

    async fn has_said(&mut self, text: &str) {
        eventually(text, LONG, async || {
            let ended = self.process.exit_status();
            let said = self.process.stdout().contains(text);
            assert!(said || ended.is_none(), "it ended before `{text}`: {}", self.process.stderr());
            said.then_some(())
        })
        .await;
    }

    fn has_no_traceback(&self) {
        let errors = self.process.stderr();
        assert!(!errors.contains("Traceback"), "{errors}");
    }

    /// Process ids and command lines; both programs have files of this folder as arguments.
    fn left_running(&self) -> Vec<String> {
        let listed = Command::new("ps").args(["-A", "-o", "pid=,args="]).output().unwrap();
        assert!(listed.status.success(), "{listed:?}");
        let folder = self.folder.path().to_str().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout);
        listed.lines().filter(|line| line.contains(folder)).map(str::to_owned).collect()
    }
}

impl Drop for Demo {
    /// Also after a failed test.
    fn drop(&mut self) {
        self.process.kill();
        for line in self.left_running() {
            let pid = line.split_whitespace().next().unwrap_or_default();
            let _ended_already = Command::new("kill").args(["-KILL", pid]).status();
        }
    }
}

#[tokio::test]
async fn demo_passes_keeps_its_files_and_stops_its_programs() {
    let mut demo = Demo::start(DEMO);
    demo.has_said("callgate handles its logins").await;
    assert_eq!(demo.left_running().len(), 2);
    let status = demo.process.wait_for_exit(LONG).await;
    let said = demo.process.stdout();
    assert!(status.success(), "{said}{}", demo.process.stderr());
    has(
        &said,
        &[
            "as expected: alice is connected",
            "as expected: publishing to `test`: Permissions Violation",
            "reason=unknown_user user=pam",
            "reason=bad_password user=alice",
            "as expected: sys lists the servers",
            "All results were as expected.",
        ],
    );
    for file in ["callgate.toml", "users.json", "nats-server.conf"] {
        assert!(demo.folder.path().join("demo").join(file).is_file(), "{file}");
    }
    assert_eq!(demo.left_running(), [""; 0]);
}

/// The picture in README.md is drawn from the same output as that of this run.
#[tokio::test]
async fn picture_of_the_demo_is_current() {
    const DRAW: &str =
        "CLICOLOR_FORCE=1 python3 scripts/demo.py | python3 scripts/demo_picture.py -";
    let mut demo = Demo::start(DRAW);
    let status = demo.process.wait_for_exit(LONG).await;
    assert!(status.success(), "{}", demo.process.stderr());
    assert_current("docs/demo.svg", &demo.process.stdout(), "make picture");
}

/// Signals are repeated, as when Ctrl-C is pressed several times.
#[tokio::test]
async fn demo_leaves_no_process_behind_on_any_signal() {
    const MOMENTS: [&str; 4] = [
        "Building callgate",
        "callgate handles its logins",
        "bob connects",
        "sys lists the servers",
    ];
    for signal in ["INT", "TERM", "HUP"] {
        let ended = MOMENTS.map(async |moment| {
            let mut demo = Demo::start(DEMO);
            demo.has_said(moment).await;
            eventually("the end of the demo", LONG, async || {
                demo.process.signal(signal);
                demo.process.exit_status()
            })
            .await;
            assert_eq!(demo.left_running(), [""; 0], "{signal} at `{moment}`");
            demo.has_no_traceback();
        });
        join_all(ended).await;
    }
}

#[tokio::test]
async fn demo_ends_quietly_on_a_closed_pipe() {
    let mut demo = Demo::start("python3 scripts/demo.py | head -n 1");
    demo.process.wait_for_exit(LONG).await;
    assert_eq!(demo.left_running(), [""; 0]);
    demo.has_no_traceback();
}
