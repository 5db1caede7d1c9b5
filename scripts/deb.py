#!/usr/bin/env python3
"""Builds a Debian package of a binary, and tests its installation, upgrade and removal in a separate root.

    deb.py build DIR [BINARY]    DIR/callgate_VERSION_ARCHITECTURE.deb; without BINARY, that of `make release`
    deb.py check [BINARY]        builds two versions; installs, upgrades, removes and purges them; checks the unit, and runs
                                 it where a machine with systemd can be booted. Without BINARY, target/debug/callgate

The package contains the program, its systemd unit, completions and manual pages. It needs dpkg-deb; `check` also needs dpkg,
and root or a user namespace.
"""

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import deb_trial
import release
import tools

UNIT = tools.ROOT / "deploy" / "systemd" / "callgate.service"
SCRIPTS = tools.ROOT / "deploy" / "debian"
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/callgate",
    "zsh": "usr/share/zsh/vendor-completions/_callgate",
    "fish": "usr/share/fish/vendor_completions.d/callgate.fish",
}
LINTIAN = tools.Debian(["lintian"], ["usr/bin/lintian"])
# systemd's judgement of the sandbox in tenths, from 0 (best) to 100.
EXPOSURE = 20
CONTROL = """Package: callgate
Version: {version}
Architecture: {architecture}
Maintainer: Callgate contributors <maintainers@callgate.invalid>
Installed-Size: {size}
{depends}Suggests: nats-server
Section: net
Priority: optional
Homepage: https://github.com/callgate/callgate
Description: auth callout service for NATS
 nats-server asks Callgate who a connecting client is and what it may do. Users
 are in a file, an identity provider, a directory, a database, a Kubernetes
 cluster, or behind a web service.
"""
COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: callgate
Source: https://github.com/callgate/callgate

Files: *
Copyright: 2026 Callgate contributors
License: Apache-2.0
 On Debian systems, the full text of the Apache License, version 2.0, is in
 /usr/share/common-licenses/Apache-2.0.
"""

OVERRIDES = """# The symbol table gives the backtrace of a panic its names.
callgate: unstripped-binary-or-object [usr/bin/callgate]
# Only where systemd runs; the package also installs on machines without init-system-helpers.
callgate: maintainer-script-calls-systemctl *
"""
# A package for the check is not compressed, because that would take minutes.
UNCOMPRESSED = "uses-no-compression-for-control-tarball,uses-no-compression-for-data-tarball"


def main(arguments):
    try:
        match arguments:
            case ["build", folder, *binary] if len(binary) < 2:
                source = Path(binary[0]) if binary else tools.ROOT / "dist" / "callgate"
                print(f"deb: wrote {build(Path(folder), source, version())}")
                return 0
            case ["check", *binary] if len(binary) < 2:
                return check(Path(binary[0]) if binary else target() / "debug" / "callgate")
    except tools.Failed as failure:
        print(f"deb: {failure}", file=sys.stderr)
        return 1
    print(__doc__, file=sys.stderr)
    return 2


def target():
    return Path(os.environ.get("CARGO_TARGET_DIR") or tools.ROOT / "target").resolve()


def version():
    return re.search(r'^version = "([^"]+)"', (tools.ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)


# --- the package ---------------------------------------------------------------------------------


def build(folder, binary, number, compression="xz"):
    if not binary.exists():
        raise tools.Failed(f"there is no {binary}: build it first")
    folder.mkdir(parents=True, exist_ok=True)
    architecture = output("dpkg", "--print-architecture").strip()
    package = folder / f"callgate_{number}_{architecture}.deb"
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "root"
        for path, content, mode in contents(binary, number):
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            file.chmod(mode)
        for directory in [root, *(path for path in root.rglob("*") if path.is_dir())]:
            directory.chmod(0o755)
        size = sum(file.stat().st_size for file in root.rglob("*") if file.is_file()) // 1024
        needed = depends(binary)
        fields = {"version": number, "architecture": architecture, "size": size,
                  "depends": f"Depends: {needed}\n" if needed else ""}
        write_control(root, CONTROL.format(**fields))
        surroundings = {"SOURCE_DATE_EPOCH": release.commit_time()}
        tools.run(["dpkg-deb", "--root-owner-group", f"-Z{compression}", "--build", root, package], "the package cannot be built",
                  surroundings=surroundings)
    return package


def write_control(root, control):
    files = sorted(file for file in root.rglob("*") if file.is_file())
    sums = "".join(f"{hashlib.md5(file.read_bytes()).hexdigest()}  {file.relative_to(root)}\n" for file in files)
    folder = root / "DEBIAN"
    folder.mkdir()
    (folder / "control").write_text(control)
    (folder / "md5sums").write_text(sums)
    for script in ["postinst", "prerm", "postrm"]:
        shutil.copy(SCRIPTS / script, folder / script)
        (folder / script).chmod(0o755)


def contents(binary, number):
    """Path, content and mode of each file."""
    callgate = binary.resolve()
    yield "usr/bin/callgate", callgate.read_bytes(), 0o755
    yield "usr/lib/systemd/system/callgate.service", UNIT.read_bytes(), 0o644
    for shell, path in COMPLETIONS.items():
        yield path, output(callgate, "completions", shell).encode(), 0o644
    for command in ["", *subcommands(callgate)]:
        page = output(callgate, "man", *([command] if command else []))
        name = f"callgate-{command}" if command else "callgate"
        yield f"usr/share/man/man1/{name}.1.gz", compressed(page), 0o644
    yield "usr/share/lintian/overrides/callgate", OVERRIDES.encode(), 0o644
    documentation = "usr/share/doc/callgate"
    yield f"{documentation}/copyright", COPYRIGHT.encode(), 0o644
    yield f"{documentation}/changelog.gz", compressed((tools.ROOT / "CHANGELOG.md").read_text()), 0o644
    entry = f"callgate ({number}) unstable; urgency=medium\n\n  * See changelog.gz.\n\n" \
            " -- Callgate contributors <maintainers@callgate.invalid>  Thu, 01 Jan 1970 00:00:00 +0000\n"
    yield f"{documentation}/changelog.Debian.gz", compressed(entry), 0o644


def subcommands(callgate):
    listed = output(callgate, "help").split("Commands:\n", 1)[1].split("\n\n", 1)[0]
    return [name for name in re.findall(r"^  ([a-z-]+) ", listed, re.MULTILINE) if name != "help"]


def compressed(text):
    return gzip.compress(text.encode(), 9, mtime=0)


def depends(binary):
    """The packages that the binary needs: none if it is static."""
    listed = output("readelf", "--dynamic", "--version-info", binary)
    libraries = set(re.findall(r"NEEDED.*\[(.*)\]", listed))
    versions = [tuple(map(int, found.split("."))) for found in re.findall(r"GLIBC_([\d.]+)", listed)]
    needed = []
    if "libc.so.6" in libraries:
        needed.append(f"libc6 (>= {'.'.join(map(str, max(versions)))})")
    if "libgcc_s.so.1" in libraries:
        needed.append("libgcc-s1")
    if unknown := [name for name in libraries if not re.match(r"lib(c|m|gcc_s|dl|pthread|rt)\.so|ld-linux", name)]:
        raise tools.Failed(f"no package is known for {', '.join(sorted(unknown))}")
    return ", ".join(needed)


# --- its life ------------------------------------------------------------------------------------


def check(binary):
    faults = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # A debug binary takes minutes to compress.
        packages = [build(folder / number, binary, number, "none") for number in ["0.0.1", version()]]
        twice = build(folder / "again", binary, version(), "none")
        if twice.read_bytes() != packages[1].read_bytes():
            faults.append("two builds of the same binary differ")
        faults += life(folder, packages) + unit_faults(folder, binary)
        linted = lint(packages[1], faults)
        found, tried = deb_trial.trial(packages, version())
        faults += found
    for fault in faults:
        print(f"deb: {fault}", file=sys.stderr)
    print(f"deb: installed, upgraded, removed and purged; the unit; {linted}; {tried}; {len(faults)} faults")
    return 1 if faults else 0


def life(folder, packages):
    """Installs, upgrades, removes and purges in a root of its own."""
    faults = []
    root = folder / "machine"
    (root / "var" / "lib" / "dpkg" / "updates").mkdir(parents=True)
    (root / "var" / "lib" / "dpkg" / "info").mkdir()
    (root / "var" / "lib" / "dpkg" / "status").touch()
    program = root / "usr/bin/callgate"

    def dpkg(*arguments):
        # The dependencies are this machine's, which the root does not know.
        command = ["dpkg", f"--root={root}", "--force-script-chrootless", "--force-depends", *arguments]
        inside = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
        done = subprocess.run([*inside, *command], capture_output=True, text=True)
        if done.returncode != 0:
            raise tools.Failed(f"dpkg {' '.join(map(str, arguments))}: {done.stderr.strip()}")

    def expect(what, good):
        if not good:
            faults.append(what)

    dpkg("--install", packages[0])
    expect("the installed program does not start", tools.starts(program, "--version"))
    expect("the manual page of `explain` is missing", (root / "usr/share/man/man1/callgate-explain.1.gz").exists())
    for path in COMPLETIONS.values():
        expect(f"{path} is missing", (root / path).stat().st_size > 1000)
    configuration = root / "etc/callgate"
    output(program, "init", configuration)
    before = (configuration / "callgate.toml").read_bytes()
    dpkg("--install", packages[1])
    listed = output("dpkg-query", f"--admindir={root}/var/lib/dpkg", "--show", "--showformat=${Version} ${Status}", "callgate")
    expect(f"after the upgrade, dpkg lists {listed}", listed == f"{version()} install ok installed")
    expect("the upgrade changed the configuration", (configuration / "callgate.toml").read_bytes() == before)
    output(program, "check", configuration / "callgate.toml", "--strict")
    dpkg("--remove", "callgate")
    expect("files remain after the removal", not program.exists() and not (root / "usr/share/man/man1").exists())
    dpkg("--purge", "callgate")
    expect("the keys did not survive a purge", (configuration / "issuer.nk").exists())
    return faults


def unit_faults(folder, binary):
    """What systemd says about the unit, with the program where it is now."""
    if shutil.which("systemd-analyze") is None:
        return []
    unit = folder / "callgate.service"
    unit.write_text(UNIT.read_text().replace("/usr/bin/callgate", str(binary.resolve())))
    faults = []
    for command in [["verify"], ["security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager"]]:
        done = subprocess.run(["systemd-analyze", *command, unit], capture_output=True, text=True)
        said = done.stdout + done.stderr
        if done.returncode != 0 or (command == ["verify"] and "callgate.service" in said):
            faults.append(f"systemd-analyze {command[0]}: {said.strip()}")
    return faults


def lint(package, faults):
    try:
        command, environment = lintian()
    except tools.Failed as failure:
        return f"NOT RUN: lintian ({failure})"
    options = ["--fail-on=error", "--tag-display-limit", "0", "--allow-root", "--suppress-tags", UNCOMPRESSED]
    done = subprocess.run([command, *options, package], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        faults.append(f"lintian: {(done.stdout + done.stderr).strip()}")
    return f"lintian: {len(re.findall('^W: ', done.stdout, re.MULTILINE))} warnings"


def lintian():
    """The machine's own, or Debian's packages below `.tools`, where Perl must be told about them."""
    with tools.locked():
        tools.install_debian("lintian", LINTIAN)
    root = tools.TOOLS / "lintian" / "root"
    folders = [root / "usr/share/perl5", *root.glob("usr/lib/*-linux-gnu*/perl5/5.*")]
    environment = {
        **os.environ,
        "PATH": f"{root}/usr/bin:{os.environ['PATH']}",
        "PERL5LIB": ":".join(map(str, folders)),
        "LD_LIBRARY_PATH": ":".join(str(path) for path in (root / "usr/lib").glob("*-linux-gnu*")),
        "LINTIAN_BASE": str(root / "usr/share/lintian"),
    }
    return root / "usr/bin/lintian", environment


def output(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise tools.Failed(f"{' '.join(map(str, command))}: {(done.stdout + done.stderr).strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
