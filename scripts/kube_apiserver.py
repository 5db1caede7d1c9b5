#!/usr/bin/env python3
"""Puts a real kube-apiserver and etcd below `.tools/kubernetes/`, for `make test-kubernetes`.

    kube_apiserver.py            build what is missing (once: about ten minutes on two cores)
    kube_apiserver.py --print    print the folder with both programs; exit code 1 if they are missing

No package registry has a kube-apiserver to run, but Debian's source package `kubernetes` holds the whole tree of
Kubernetes 1.20.2, although Debian builds only the client of it. So: the source, the compiler of its time
and etcd come from Debian's archive (the machine's own apt sources, read without privileges and without
touching the machine's lists), and kube-apiserver is compiled from them. `CALLGATE_TOOLS` names another folder.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import tools

HOME = tools.TOOLS / "kubernetes"
WORK = tools.TOOLS / ".kubernetes-build"
PROGRAMS = ["kube-apiserver", "etcd"]
# Unpacked, never installed. The last one replaces a vendored library that panics when compiled by Go 1.18 and later.
PACKAGES = ["golang-1.19-go", "golang-1.19-src", "rsync", "libpopt0", "libxxhash0", "jq", "libjq1", "libonig5",
            "etcd-server", "golang-github-modern-go-reflect2-dev"]
SOURCES = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("debian*"))]


def main(arguments):
    if arguments == ["--print"]:
        print(HOME)
        return 0 if is_there() else 1
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with tools.locked():
            install()
    except tools.Failed as failure:
        print(f"kube_apiserver: {failure}", file=sys.stderr)
        return 1
    return 0


def is_there():
    return all(tools.starts(HOME / program) for program in PROGRAMS)


def install():
    if is_there():
        return
    if not shutil.which("apt-get") or not shutil.which("dpkg-source"):
        raise tools.Failed("a kube-apiserver is built from Debian's source package: apt-get and dpkg-dev are needed")
    say("kube-apiserver and etcd (this compiles for some minutes)")
    WORK.mkdir(parents=True, exist_ok=True)
    root, tree = fetch()
    mend(root, tree)
    compile_server(root, tree)
    HOME.mkdir(parents=True, exist_ok=True)
    shutil.copy(root / "usr" / "bin" / "etcd", HOME / "etcd.new")
    (HOME / "etcd.new").replace(HOME / "etcd")
    tools.move_into_place(WORK / "kube-apiserver", HOME / "kube-apiserver")
    if not is_there():
        raise tools.Failed(f"what was built does not start: look at {HOME}")
    make_writable(WORK)
    tools.remove(WORK)


# --- Debian's archive ----------------------------------------------------------------------------


def fetch():
    """The packages unpacked into one root, and the source tree where Go's GOPATH mode expects it."""
    root, tree = WORK / "root", WORK / "gopath" / "src" / "k8s.io" / "kubernetes"
    if tree.exists() and root.exists():
        return root, tree
    apt = apt_without_privileges()
    run([*apt, "update", "--quiet"], "cannot download the package lists of Debian's archive: check the network")
    downloads = WORK / "downloads"
    downloads.mkdir(exist_ok=True)
    run([*apt, "download", "--quiet", *PACKAGES], "cannot download Debian's packages", cwd=downloads)
    run([*apt, "source", "--quiet", "--download-only", "kubernetes"], "cannot download the source of kubernetes", cwd=downloads)
    for package in sorted(downloads.glob("*.deb")):
        run(["dpkg", "-x", package, root], f"{package.name} cannot be unpacked")
    description = next(downloads.glob("kubernetes_*.dsc"))
    unpacked = WORK / "unpacked"
    tools.remove(unpacked)
    run(["dpkg-source", "--no-check", "-x", description, unpacked], "the source of kubernetes cannot be unpacked")
    tree.parent.mkdir(parents=True, exist_ok=True)
    unpacked.replace(tree)
    return root, tree


def apt_without_privileges():
    """apt-get with lists and caches of its own, and with source packages switched on."""
    home = WORK / "apt"
    for folder in ["lists/partial", "cache/archives/partial", "sources", "log"]:
        (home / folder).mkdir(parents=True, exist_ok=True)
    for file in SOURCES:
        if file.is_file():
            (home / "sources" / file.name).write_text(with_sources(file.read_text()))
    settings = {
        "Dir::Etc::sourcelist": "/dev/null", "Dir::Etc::sourceparts": home / "sources",
        "Dir::State::lists": home / "lists", "Dir::Cache": home / "cache", "Dir::Log": home / "log",
        "APT::Sandbox::User": "", "Debug::NoLocking": "1",
    }
    return ["apt-get", *(f"-o{key}={value}" for key, value in settings.items())]


def with_sources(text):
    """The same archives, each also as a source of source packages; both formats of apt."""
    text = re.sub(r"^Types: *deb *$", "Types: deb deb-src", text, flags=re.MULTILINE)
    return re.sub(r"^deb (.*)$", r"deb \1\ndeb-src \1", text, flags=re.MULTILINE)


# --- the build -----------------------------------------------------------------------------------


def mend(root, tree):
    """The vendored reflect2 1.0.1 reads the runtime's maps as Go 1.17 had them: every JSON map panics."""
    ours = root / "usr/share/gocode/src/github.com/modern-go/reflect2"
    theirs = tree / "vendor/github.com/modern-go/reflect2"
    for file in [*theirs.glob("*.go"), *theirs.glob("*.s")]:
        file.unlink()
    for file in [*ours.glob("*.go"), *ours.glob("*.s")]:
        if not file.name.endswith("_test.go"):
            shutil.copy(file, theirs / file.name)


def compile_server(root, tree):
    environment = {
        "PATH": f"{root}/usr/lib/go-1.19/bin:{root}/usr/bin:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": f"{root}/usr/lib/x86_64-linux-gnu:{root}/lib/x86_64-linux-gnu",
        "GOROOT": f"{root}/usr/lib/go-1.19", "GOPATH": str(WORK / "gopath"), "GO111MODULE": "off",
        "GOCACHE": str(WORK / "gocache"), "GOFLAGS": "", "HOME": str(WORK), "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local", "KUBE_GIT_VERSION": "v1.20.2", "KUBE_GIT_TREE_STATE": "clean", "KUBE_GIT_COMMIT": "debian",
    }
    # A file of versions keeps the build from asking git, which would find the repository around `.tools/`.
    versions = WORK / "versions"
    versions.write_text("".join(f"{key}='{value}'\n" for key, value in {
        "KUBE_GIT_COMMIT": "debian", "KUBE_GIT_TREE_STATE": "clean", "KUBE_GIT_VERSION": "v1.20.2",
        "KUBE_GIT_MAJOR": "1", "KUBE_GIT_MINOR": "20"}.items()))
    environment["KUBE_GIT_VERSION_FILE"] = str(versions)
    everything = {**os.environ, **environment}
    run(["nice", "make", "generated_files"], "the generated files of kubernetes cannot be made", cwd=tree, env=everything)
    run(["nice", "go", "build", "-p", "2", "-trimpath", "-ldflags",
         "-s -w -X k8s.io/component-base/version.gitVersion=v1.20.2",
         "-o", WORK / "kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"],
        "kube-apiserver cannot be compiled", cwd=tree, env=everything)


def run(command, otherwise, cwd=None, env=None):
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        raise tools.Failed(f"{otherwise}\n{(done.stdout + done.stderr).strip()[-4000:]}")


def make_writable(folder):
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)


def say(message):
    print(f"kube_apiserver: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
