#!/usr/bin/env python3
"""Unpacks an image, and runs it as a container engine would, without an engine.

    container.py exec SPEC     (internal) enters the root that the file SPEC describes, and becomes the image's program

The program gets a read-only root, mounts, devices and processes of its own, the image's user, no capabilities and no way to gain
any. It keeps the network of this machine. Without root, a user namespace takes its place.
"""

import ctypes
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import namedtuple
from pathlib import Path

# From <sys/mount.h> and <linux/prctl.h>.
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 23, 24, 38
# What every engine puts into `/dev`, of that which programs need.
DEVICES = ["null", "zero", "full", "random", "urandom"]

# A folder of this machine inside the container.
Volume = namedtuple("Volume", "source target writable")
# Where an image was unpacked, what its configuration and its manifest say, and the manifest's digest.
Image = namedtuple("Image", "root configuration manifest digest")


class Invalid(Exception):
    """The archive is not an image that this machine can run."""


# --- the archive ---------------------------------------------------------------------------------


def unpack(archive, root):
    """Unpacks an OCI archive with one image, whose blobs must have the digests that name them."""
    with tarfile.open(archive) as file:
        def blob(digest):
            content = file.extractfile("blobs/" + digest.replace(":", "/")).read()
            if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
                raise Invalid(f"the blob {digest} has another digest")
            return content

        index = json.load(file.extractfile("index.json"))
        if len(index["manifests"]) != 1:
            raise Invalid(f"{archive} has {len(index['manifests'])} images")
        digest = index["manifests"][0]["digest"]
        manifest = json.loads(blob(digest))
        root.mkdir(parents=True, exist_ok=True)
        for layer in manifest["layers"]:
            with tempfile.TemporaryFile() as spooled:
                spooled.write(blob(layer["digest"]))
                spooled.seek(0)
                with tarfile.open(fileobj=spooled) as content:
                    content.extractall(root)
        return Image(root, json.loads(blob(manifest["config"]["digest"])), manifest, digest)


# --- running it ----------------------------------------------------------------------------------


def command(image, arguments, volumes, folder):
    """The command that runs the image: with its own arguments, or with the given ones in their place."""
    configuration = image.configuration["config"]
    arguments = configuration.get("Cmd", []) if arguments is None else arguments
    for volume in volumes:
        # As an engine does: mount points are created before the root becomes read-only.
        (image.root / volume.target.lstrip("/")).mkdir(parents=True, exist_ok=True)
    for folder_of_kernel in ["proc", "dev"]:
        (image.root / folder_of_kernel).mkdir(exist_ok=True)
    for device in DEVICES:
        (image.root / "dev" / device).touch()
    spec = Path(tempfile.mkstemp(dir=folder, prefix="container-", suffix=".json")[1])
    spec.write_text(json.dumps({
        "root": str(image.root),
        "user": [int(part) for part in configuration["User"].split(":")],
        "arguments": [*configuration["Entrypoint"], *arguments],
        "environment": dict(entry.split("=", 1) for entry in configuration.get("Env", [])),
        "volumes": [[str(volume.source), volume.target, volume.writable] for volume in volumes],
    }))
    return [*namespaces(), "--kill-child", sys.executable, __file__, "exec", str(spec)]


def namespaces():
    return ["unshare", "--mount", "--pid", "--ipc", "--fork", *(["--map-root-user"] if os.geteuid() != 0 else [])]


def is_possible():
    """Whether this machine lets its user make namespaces, which some containers forbid."""
    try:
        done = subprocess.run([*namespaces(), "mount", "--make-rprivate", "/"], capture_output=True)
    except OSError:
        return False
    return done.returncode == 0


def process_of(unshare):
    """The id of the container's first process, as this machine counts: the only child of `unshare`."""
    children = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
    return int(children[0]) if children else None


def become(spec):
    """Runs in the new namespaces; does not return."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(what, *arguments):
        arguments = [argument.encode() if isinstance(argument, str) else argument for argument in arguments]
        if getattr(libc, what)(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{what}{arguments}: {os.strerror(number)}")

    root = spec["root"]
    call("mount", None, "/", None, MS_REC | MS_PRIVATE, None)
    call("mount", root, root, None, MS_BIND, None)
    for source, target, writable in spec["volumes"]:
        call("mount", source, root + target, None, MS_BIND, None)
        if not writable:
            call("mount", None, root + target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, None)
    for device in DEVICES:
        call("mount", f"/dev/{device}", f"{root}/dev/{device}", None, MS_BIND, None)
    call("mount", "proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV, None)
    call("mount", None, root, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, None)
    has_image_user = maps_many_users()
    os.chroot(root)
    os.chdir("/")
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1:
            call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    if has_image_user:
        user, group = spec["user"]
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    # Root of a user namespace loses its capabilities here, because the bounding set is empty.
    os.execve(spec["arguments"][0], spec["arguments"], spec["environment"])


def maps_many_users():
    """False in the user namespace of an ordinary user, which has no user but root."""
    return int(Path("/proc/self/uid_map").read_text().split()[2]) > 1


def run(image, arguments, volumes, folder):
    return subprocess.run(command(image, arguments, volumes, folder), capture_output=True, text=True)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "exec":
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    become(json.loads(Path(sys.argv[2]).read_text()))
