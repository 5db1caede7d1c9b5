//! The wall clock of Callgate's machine is stepped.

use std::{ffi::OsString, fs, time::Instant};

use callgate_testkit::{service::Launch, tools};
use futures_util::FutureExt;

use crate::{
    fault::{Fault, NotRun},
    report::Observations,
    scene::Scene,
    trial::Trial,
};

const FAMILY: &str = "clock";
const HOW: &str =
    "libfaketime preloaded into the real service; the monotonic clock is not affected";

/// Into the future: every request seems an hour old.
pub const FORWARD: Fault = Fault {
    family: FAMILY,
    name: "stepped an hour forward, then back",
    how: HOW,
    story: || stepped("+3600").boxed_local(),
};

/// Backwards: every request appears to come from the future.
pub const BACKWARD: Fault = Fault {
    family: FAMILY,
    name: "stepped an hour back, then forward",
    how: HOW,
    story: || stepped("-3600").boxed_local(),
};

/// All of them.
pub const ALL: [Fault; 2] = [FORWARD, BACKWARD];

async fn stepped(by: &str) -> Result<Observations, NotRun> {
    let library = tools::folder().join("faketime/libfaketimeMT.so.1");
    if !library.exists() {
        return Err(NotRun(
            "libfaketime is not installed (`scripts/tools.py faketime`)".to_owned(),
        ));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let offset = folder.path().join("offset");
    fs::write(&offset, "+0").expect("a file");
    let variables: [(&str, OsString); 4] = [
        ("LD_PRELOAD", library.into()),
        ("FAKETIME_TIMESTAMP_FILE", offset.clone().into()),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let launch = Launch { variables, ..Launch::default() };
    let mut scene = Scene::builder().launch(launch).start().await;
    let view = scene.service().view();
    let mut trial = Trial::begins(view.clone(), scene.clients()).await;
    step(&offset, by);
    trial.says("dropped a request").await;
    // Attempts that had already begun may still be admitted.
    let stepped = Instant::now();
    trial.more_clients_try().await;
    trial.none_is_admitted_since(stepped);
    let skew = view.metric("callgate_clock_skew_seconds").await;
    assert!((3500.0..3700.0).contains(&skew.abs()), "the metric tells the offset: {skew}");
    trial.ends().await;
    step(&offset, "+0");
    trial.recovers().await;
    Ok(trial.seen().await)
}

/// At once: a half-written file would be another time.
fn step(file: &std::path::Path, by: &str) {
    let fresh = file.with_extension("fresh");
    fs::write(&fresh, by).and_then(|()| fs::rename(&fresh, file)).expect("the file is ours");
}
