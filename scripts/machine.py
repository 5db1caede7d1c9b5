"""A machine for trials: the files of this one below an overlay, with a systemd of its own.

systemd is the first process of its own namespaces and has no network. What it writes goes to memory, and is gone at the
end. That needs root, overlayfs and systemd.
"""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

SYSTEMD = Path("/lib/systemd/systemd")
# They would change settings of the kernel, which namespaces share, or need devices.
MASKED = ["systemd-sysctl.service", "systemd-modules-load.service", "systemd-binfmt.service", "systemd-udevd.service",
          "systemd-udev-trigger.service", "systemd-firstboot.service", "systemd-machine-id-commit.service",
          "systemd-remount-fs.service", "systemd-random-seed.service", "dev-hugepages.mount", "sys-kernel-debug.mount",
          "sys-kernel-tracing.mount", "sys-fs-fuse-connections.mount", "proc-sys-fs-binfmt_misc.automount"]
# Its arguments are a folder, the name of a control group, and the folder of the units.
BOOT = """
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/cgroup" "$1/upper" "$1/work" "$1/root"
mount -t cgroup2 cgroup2 "$1/cgroup"
mkdir "$1/cgroup/$2"
echo $$ > "$1/cgroup/$2/cgroup.procs"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
rm -rf "$1/root/etc/systemd/system" "$1/root/etc/callgate"
cp -R "$3" "$1/root/etc/systemd/system"
: > "$1/root/etc/fstab"
exec unshare --cgroup --pid --fork --kill-child sh -e -c '
cd "$1"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for folder in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
pivot_root . .
umount --lazy .
mount --make-rshared /
exec chroot . /usr/bin/env -i container=callgate PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
    '"$4"' --unit=booted.target --show-status=no
' sh "$1/root"
"""
BOOT_TIMEOUT = 60


class Unavailable(Exception):
    """A machine cannot be booted here."""


class Machine:
    """A booted machine; it is gone when the block ends."""

    def __enter__(self):
        if os.geteuid() != 0:
            raise Unavailable("it needs root")
        if missing := [name for name in ["unshare", "nsenter", "systemctl"] if shutil.which(name) is None]:
            raise Unavailable(f"{', '.join(missing)} is not installed")
        if not SYSTEMD.exists():
            raise Unavailable(f"{SYSTEMD} is not installed")
        self.folder = Path(tempfile.mkdtemp(prefix="callgate-machine-"))
        units = self.folder / "units"
        units.mkdir()
        (units / "booted.target").write_text("[Unit]\nRequires=basic.target\nAfter=basic.target\n")
        for name in MASKED:
            (units / name).symlink_to("/dev/null")
        inside = self.folder / "inside"
        inside.mkdir()
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--uts", "--ipc", "--net", "sh", "-e", "-c", BOOT, "sh",
             inside, self.folder.name, units, SYSTEMD],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            self.boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def boot(self):
        until = time.monotonic() + BOOT_TIMEOUT
        state = ""
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise Unavailable(self.process.stderr.read().strip() or "its namespaces cannot be made")
            state = self.try_run("systemctl", "is-system-running").stdout.strip()
            if state in ("running", "degraded"):
                return
            time.sleep(0.2)
        raise Unavailable(f"systemd is `{state}` after {BOOT_TIMEOUT} s")

    def __exit__(self, *_):
        # The first process of a namespace takes all others with it.
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        group = self.folder / "cgroup"
        group.mkdir()
        removal = 'mount -t cgroup2 cgroup2 "$1" && find "$1/$2" -depth -type d -exec rmdir {} +'
        for _ in range(50):
            done = subprocess.run(["unshare", "--mount", "sh", "-c", removal, "sh", group, self.folder.name],
                                  capture_output=True)
            if done.returncode == 0:
                break
            time.sleep(0.1)
        shutil.rmtree(self.folder)

    def first_process(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return (children.read_text().split() or ["0"])[0]

    def try_run(self, *command, namespaces=("mount", "uts", "ipc", "net", "pid", "cgroup", "root", "wd")):
        entered = ["nsenter", f"--target={self.first_process()}", *(f"--{name}" for name in namespaces)]
        return subprocess.run([*entered, *map(str, command)], capture_output=True, text=True)

    def run(self, *command):
        """Runs a command, and returns its output."""
        done = self.try_run(*command)
        if done.returncode != 0:
            said = (done.stdout + done.stderr).strip()
            raise AssertionError(f"{' '.join(map(str, command))}: {said}\n{self.journal()}")
        return done.stdout

    def run_in_network(self, *command):
        """The same with the files of the machine outside."""
        return self.try_run(*command, namespaces=("net",))

    def copy(self, source, destination):
        """Copies a file into it."""
        root = Path(f"/proc/{self.first_process()}/root")
        shutil.copy(source, root / Path(destination).relative_to("/"))

    def wait_for(self, what, condition, seconds=180):
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                raise AssertionError(f"{what} did not happen within {seconds} s:\n{self.journal()}")
            time.sleep(0.1)

    def journal(self, *units):
        """What the units have logged, or the last lines of all."""
        selection = [f"--unit={unit}" for unit in units] or ["--lines=40"]
        return self.try_run("journalctl", *selection, "--output=cat", "--no-pager").stdout
