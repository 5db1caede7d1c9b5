//! The configuration file breaks while the service runs.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
};

use callgate_testkit::{Service, files::write_private, service::Launch};
use futures_util::FutureExt;

use crate::{
    fault::{Fault, NotRun},
    report::Observations,
    scene::Scene,
    trial::Trial,
};

const FAMILY: &str = "configuration file";
const RELOADED: &str = "callgate_config_reloads_total{result=\"ok\"}";
const NOT_RELOADED: &str = "callgate_config_reloads_total{result=\"failed\"}";
/// The user id of `nobody`: file modes do not restrict root.
const NOBODY: u32 = 65534;

/// Cut in the middle of a table.
pub const TRUNCATED: Fault = Fault {
    family: FAMILY,
    name: "truncated, then restored",
    how: "cut in the middle while the service runs, then SIGHUP; later rewritten",
    story: || broken(truncate).boxed_local(),
};

/// Mode 000.
pub const UNREADABLE: Fault = Fault {
    family: FAMILY,
    name: "unreadable, then readable again",
    how: "the service runs as the user `nobody`; `chmod 000`, then SIGHUP; later `chmod 600`",
    story: || broken(make_unreadable).boxed_local(),
};

/// A folder of the same name.
pub const DIRECTORY: Fault = Fault {
    family: FAMILY,
    name: "replaced by a directory, then restored",
    how: "a directory of the same name, then SIGHUP; later the file again",
    story: || broken(replace_by_directory).boxed_local(),
};

/// All of them.
pub const ALL: [Fault; 3] = [TRUNCATED, UNREADABLE, DIRECTORY];

async fn broken(break_it: fn(&Path)) -> Result<Observations, NotRun> {
    let mut scene = Scene::builder().replicas(0).start().await;
    let file = scene.path("callgate.toml");
    let service = Service::start(scene.folder(), &as_nobody(scene.folder())).await;
    service.ready().await;
    scene.replicas.push(service);
    let whole = fs::read(&file).expect("it was written");
    let view = scene.service().view();
    let (ok, failed) = (view.metric(RELOADED).await, view.metric(NOT_RELOADED).await);
    let mut trial = Trial::begins(view.clone(), scene.clients()).await;
    break_it(&file);
    scene.service().process.signal("HUP");
    view.metric_reaches(NOT_RELOADED, failed + 1.0).await;
    trial.says("configuration reload failed; keeping the previous configuration").await;
    trial.clients_try().await;
    trial.all_are_admitted();
    trial.ends().await;
    mend(&file, &whole);
    // Without a signal: the service notices that the file changed.
    view.metric_reaches(RELOADED, ok + 1.0).await;
    trial.recovers().await;
    trial.all_are_admitted();
    Ok(trial.seen().await)
}

/// File modes do not restrict root, so the service runs as another user.
fn as_nobody(folder: &Path) -> Launch {
    if fs::metadata("/proc/self").map(|own| own.uid()).unwrap_or(0) != 0 {
        return Launch::default();
    }
    for entry in fs::read_dir(folder).expect("our folder").flatten() {
        chown(entry.path(), Some(NOBODY), None).expect("root may");
    }
    chown(folder, Some(NOBODY), None).expect("root may");
    let uid = format!("--reuid={NOBODY}");
    // The binary may lie where only root may go: the shell opens it first.
    let command = ["setpriv", &uid, "--clear-groups", "--"].map(Into::into).to_vec();
    Launch { before: command, binary: Some(crate::binary::copied_to(folder)), ..Launch::default() }
}

fn truncate(file: &Path) {
    let text = fs::read_to_string(file).expect("it is there");
    let cut = text.find("[issuer]").expect("the table is there") + 30;
    fs::write(file, &text[..cut]).expect("it can be written");
}

fn make_unreadable(file: &Path) {
    fs::set_permissions(file, fs::Permissions::from_mode(0o000)).expect("it is ours");
}

fn replace_by_directory(file: &Path) {
    fs::remove_file(file).expect("it is ours");
    fs::create_dir(file).expect("its name is free");
}

fn mend(file: &Path, whole: &[u8]) {
    if file.is_dir() {
        fs::remove_dir(file).expect("it is empty");
    } else {
        fs::remove_file(file).expect("it is ours");
    }
    let text = String::from_utf8(whole.to_vec()).expect("it was text");
    write_private(file, &text);
    if fs::metadata(file).expect("it is there").uid() == 0 {
        chown(file, Some(NOBODY), None).expect("root may");
    }
}
