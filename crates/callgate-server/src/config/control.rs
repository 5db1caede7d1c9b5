//! `[control]`.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use callgate_config::{Key, Table, Type};

pub(super) const KEYS: &[Key] = &[
    Key::optional(
        "socket",
        Type::Path,
        "Unix socket for `callgate sessions`, `kick`, `lock` and the other commands that act on the running \
         service. Only the service's own user and root can use it (mode 0600). Its folder must not be writable by \
         others; a missing folder is created. Changes take effect after a restart",
    )
    .or_else("no commands"),
];

/// The mode bits that permit the group and others to write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// The longest path of a socket, in bytes: `sun_path` of Linux without the final NUL.
const MAX_PATH: usize = 107;

/// The path of the socket.
pub(super) fn read(root: &mut Table<'_>) -> Option<PathBuf> {
    let mut table = root.table("control")?;
    let socket = table.file_name("socket");
    if let Some(socket) = &socket {
        check(&table, socket);
    }
    table.finish();
    socket
}

fn check(table: &Table<'_>, socket: &Path) {
    if socket.as_os_str().len() > MAX_PATH {
        table.fault(
            "socket",
            format!("the path is longer than {MAX_PATH} bytes: choose a shorter one"),
        );
    }
    let Some(folder) = socket.parent() else {
        return table.fault("socket", "has no folder");
    };
    // A missing folder is created with mode 0700.
    let Ok(found) = std::fs::metadata(folder) else { return };
    let name = folder.display();
    if !found.is_dir() {
        table.fault("socket", format!("`{name}` is not a folder"));
    } else if found.permissions().mode() & WRITABLE_BY_OTHERS != 0 {
        table.fault(
            "socket",
            format!(
                "the folder `{name}` is writable by others, who could put their own socket there: run `chmod go-w \
                 {name}`, or choose a folder of the service's user"
            ),
        );
    } else if let Err(error) = table.sources().check_folders(socket) {
        table.warn("socket", error);
    }
}
