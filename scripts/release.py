#!/usr/bin/env python3
"""Builds the release binary reproducibly, and lists its contents.

    scripts/release.py build DIR        DIR/callgate, its SHA-256, and DIR/callgate.cdx.json
    scripts/release.py sbom FILE        only the bill of materials (CycloneDX 1.5, JSON)
    scripts/release.py compare [--keep] builds the last commit twice, in folders of different names, and compares

The same sources (a commit), the same Rust and the same C compiler give the same bytes, wherever the checkout
and Cargo's folder lie: their paths are replaced in what the compilers write, versions are those of Cargo.lock.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "callgate-server"
BINARY = "callgate"
SBOM = "callgate.cdx.json"


def main():
    options = arguments()
    return options.run(options)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("build", help="the binary, its digest and its bill of materials")
    command.add_argument("folder", type=Path)
    command.set_defaults(run=build_into)
    command = commands.add_parser("sbom", help="the bill of materials alone")
    command.add_argument("file", type=Path)
    command.set_defaults(run=write_sbom)
    command = commands.add_parser("compare", help="build the last commit twice and compare")
    command.add_argument("--keep", action="store_true", help="keep the two folders")
    command.set_defaults(run=compare)
    return parser.parse_args()


def cargo():
    """The cargo to build with: the one that CARGO names, or one on PATH. Ends the program if that is missing or too old."""
    if named := os.environ.get("CARGO"):
        return named
    wanted = re.search(r'^rust-version = "([\d.]+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)
    advice = f"install Rust {wanted} or newer from https://rustup.rs, and open a new shell"
    found = shutil.which("cargo")
    if found is None:
        raise SystemExit(f"cargo is not on PATH: {advice}")
    said = subprocess.run([found, "--version"], cwd=ROOT, capture_output=True, text=True)
    number = re.match(r"cargo ([\d.]+)", said.stdout)
    if number is None:
        raise SystemExit(f"{found} does not start: {said.stderr.strip()}")
    if [int(part) for part in number.group(1).split(".")] < [int(part) for part in wanted.split(".")]:
        raise SystemExit(f"{found} is version {number.group(1)}: {advice}")
    return found


def build_into(options):
    options.folder.mkdir(parents=True, exist_ok=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
    shutil.copy2(build(ROOT, target), options.folder / BINARY)
    digest = sha256(options.folder / BINARY)
    (options.folder / f"{BINARY}.sha256").write_text(f"{digest}  {BINARY}\n")
    options.file = options.folder / SBOM
    print(f"release: {options.folder / BINARY}, SHA-256 {digest}")
    return write_sbom(options)


def compare(options):
    """Paths of different lengths, since one of the same length could hide in the same place."""
    base = Path(tempfile.mkdtemp(prefix="callgate-release-"))
    digests = {}
    for name in ["one", "another-with-a-longer-name"]:
        folder = base / name
        folder.mkdir()
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
        subprocess.run(["tar", "-x"], cwd=folder, input=archive, check=True)
        binary = build(folder, folder / "target")
        digests[name] = sha256(binary)
        print(f"release: {binary.stat().st_size:,} bytes, SHA-256 {digests[name]} ({folder})", flush=True)
        shutil.copy2(binary, base / f"{BINARY}-{name}")
    same = len(set(digests.values())) == 1
    print(f"release: the two binaries are {'the same' if same else 'DIFFERENT'}")
    if options.keep or not same:
        print(f"release: they are in {base}")
    else:
        shutil.rmtree(base)
    return 0 if same else 1


def build(checkout, target):
    home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo").resolve()
    # The most specific last: the last prefix that fits is taken.
    prefixes = {home: "/cargo", checkout: "/callgate", target: "/target"}
    remapped = [f"--remap-path-prefix={path}={name}" for path, name in prefixes.items()]
    c_flags = " ".join(f"-ffile-prefix-map={path}={name}" for path, name in prefixes.items())
    environment = {
        **os.environ,
        "CARGO_TARGET_DIR": str(target),
        "CARGO_INCREMENTAL": "0",
        "CFLAGS": f"{os.environ.get('CFLAGS', '')} {c_flags} -g0".strip(),
        "SOURCE_DATE_EPOCH": commit_time(),
    }
    # RUSTFLAGS would take the place of .cargo/config.toml; --config adds to it.
    environment.pop("RUSTFLAGS", None)
    flags = "build.rustflags=" + json.dumps(remapped)
    command = [cargo(), "build", "--release", "--locked", "--package", PACKAGE, "--config", flags]
    subprocess.run(command, cwd=checkout, env=environment, check=True)
    return target / "release" / BINARY


def commit_time():
    command = ["git", "log", "-1", "--format=%ct"]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_sbom(options):
    document = sbom()
    faults = list(faults_of(document))
    for fault in faults:
        print(f"release: the bill of materials: {fault}", file=sys.stderr)
    options.file.write_text(json.dumps(document, indent=1) + "\n")
    print(f"release: {options.file}: {len(document['components'])} components, {len(faults)} faults")
    return 1 if faults else 0


def sbom():
    """What the binary is made of: its crates, with versions, licences and the digests of Cargo.lock."""
    packages = metadata()
    root, used, edges = tree(packages)
    checksums = locked_checksums()
    components = [component(packages[key], checksums) for key in sorted(used - {root})]
    main = component(packages[root], checksums) | {"type": "application", "name": BINARY}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": main, "tools": {"components": [{"type": "application", "name": "scripts/release.py"}]}},
        "components": components,
        "dependencies": [{"ref": purl(packages[key]), "dependsOn": sorted(purl(packages[to]) for to in edges[key])}
                         for key in sorted(used)],
    }
    # The same contents, the same number: no clock and no chance.
    name = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    return {**document, "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}"}


def metadata():
    command = [cargo(), "metadata", "--format-version=1", "--locked"]
    found = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
    return {(package["name"], package["version"]): package for package in found["packages"]}


def tree(packages):
    """The crates that are really built into it, with its own features and not those of tests: as `cargo tree` has it."""
    command = [cargo(), "tree", "--locked", "--package", PACKAGE, "--edges", "normal,build", "--prefix", "depth",
               "--format", " {p}", "--no-dedupe"]
    text = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    above, used, edges = [], set(), {}
    for line in text.splitlines():
        depth, name, version = re.match(r"(\d+) (\S+) v(\S+)", line).groups()
        key = (name, version)
        if key not in packages:
            sys.exit(f"release: {name} {version} is in the tree and not in cargo's metadata")
        del above[int(depth):]
        edges.setdefault(key, set())
        if above:
            edges[above[-1]].add(key)
        above.append(key)
        used.add(key)
    return next(key for key in used if key[0] == PACKAGE), used, edges


def locked_checksums():
    text = (ROOT / "Cargo.lock").read_text()
    pattern = r'\[\[package\]\]\nname = "([^"]+)"\nversion = "([^"]+)"\n(?:source = "[^"]*"\n)?(?:checksum = "([0-9a-f]{64})")?'
    return {(name, version): checksum for name, version, checksum in re.findall(pattern, text)}


def component(package, checksums):
    entry = {"type": "library", "bom-ref": purl(package), "name": package["name"], "version": package["version"],
             "purl": purl(package)}
    if package.get("license"):
        # Some crates still write `/` for OR.
        entry["licenses"] = [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}]
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if is_replacement(package):
        folder = Path(package["manifest_path"]).parent.relative_to(ROOT)
        entry["pedigree"] = {"notes": f"not the crate of this name in the registry, but {folder} in this repository"}
    return entry


def is_replacement(package):
    """True for a crate of this repository that replaces one of the registry (`[patch]` in Cargo.toml)."""
    return package["source"] is None and not package["name"].startswith("callgate")


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version'].replace('+', '%2B')}"


def faults_of(document):
    """The shape that CycloneDX 1.5 asks for, as far as it is used here, and that nothing is missing."""
    components = [document["metadata"]["component"], *document["components"]]
    references = [one["bom-ref"] for one in components]
    if len(references) != len(set(references)):
        yield "duplicate component"
    for one in components:
        if not (one.get("name") and one.get("version") and re.fullmatch(r"pkg:cargo/[\w.+-]+@[\w.%+-]+", one["purl"])):
            yield f"{one['bom-ref']} lacks name, version or purl"
        if not one.get("licenses"):
            yield f"{one['bom-ref']} has no licence"
        own = one["name"] == BINARY or one["name"].startswith("callgate") or "pedigree" in one
        if not own and not one.get("hashes"):
            yield f"{one['bom-ref']} has no digest in Cargo.lock"
    listed = {entry["ref"] for entry in document["dependencies"]}
    used = {to for entry in document["dependencies"] for to in entry["dependsOn"]}
    if listed != set(references) or not used <= listed:
        yield "the dependencies name other components than there are"
    if not re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", document["serialNumber"]):
        yield "its serial number is none"


if __name__ == "__main__":
    sys.exit(main())
