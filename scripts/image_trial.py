"""Runs an image as the chart does (read-only root, no capabilities), against a real nats-server."""

import json
import os
import re
import signal
import stat
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import container
import demo
import tools

USER = "65532"
FILES = {"callgate", "etc/ssl/certs/ca-certificates.crt", "usr/share/doc/callgate/callgate.cdx.json"}
LABELS = ["title", "description", "source", "documentation", "licenses", "version", "revision"]
CONFIG, SECRETS = "/etc/callgate/config", "/etc/callgate/secrets"
SEEDS = ["issuer.nk", "xkey.xk", "auth.nk"]


def faults(archive, version, server_binary):
    """What is wrong with the image, and a summary of what was tried."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        image = container.unpack(archive, folder / "root")
        found += faults_of_contents(image, version) + faults_of_chart(image)
        try:
            found += faults_of_run(image, folder, server_binary)
        except SystemExit as failure:
            # `demo.Process` gives up in this way.
            found.append(str(failure))
    return found, f"{image.digest}, run with a read-only root and no capabilities against a real nats-server"


def faults_of_contents(image, version):
    found = []
    files = {str(path.relative_to(image.root)) for path in image.root.rglob("*") if not path.is_dir()}
    if files != FILES:
        found.append(f"the image has the files {sorted(files)}")
    configuration = image.configuration["config"]
    labels = configuration["Labels"]
    for label in LABELS:
        if not labels.get(f"org.opencontainers.image.{label}"):
            found.append(f"the image has no label {label}")
    if labels.get("org.opencontainers.image.version") != version:
        found.append(f"the label of the version is not {version}")
    if configuration["User"] != f"{USER}:{USER}":
        found.append(f"the image runs as {configuration['User']}")
    bill = json.loads((image.root / "usr/share/doc/callgate/callgate.cdx.json").read_text())
    if bill["metadata"]["component"]["version"] != version or len(bill["components"]) < 50:
        found.append("the bill of materials is not that of this version")
    if not (image.root / "callgate").stat().st_mode & stat.S_IXOTH:
        found.append("the image's user may not run the program")
    return found


def faults_of_chart(image):
    """The chart's defaults must fit the image that its user names."""
    found = []
    manifest = (tools.ROOT / "deploy/kubernetes/callgate.yaml").read_text()
    arguments = json.loads(re.search(r"^ +args: (\[.*\])$", manifest, re.MULTILINE).group(1))
    if arguments != image.configuration["config"]["Cmd"]:
        found.append(f"the chart runs {arguments}, the image {image.configuration['config']['Cmd']}")
    for wanted in [f"runAsUser: {USER}", f"mountPath: {CONFIG},", f"mountPath: {SECRETS},",
                   "readOnlyRootFilesystem: true", 'capabilities: { drop: ["ALL"] }']:
        if wanted not in manifest:
            found.append(f"the chart has no `{wanted}`")
    return found


def faults_of_run(image, folder, server_binary):
    port, admin = demo.free_port(), demo.free_port()
    writable = own(folder / "out")
    done = container.run(image, ["init", "--demo", "/out/gate"], [container.Volume(writable, "/out", True)], folder)
    if done.returncode != 0:
        return [f"`init` in the image: {done.stdout}{done.stderr}"]
    files = writable / "gate"
    server_configuration = files / "nats-server.conf"
    server_configuration.write_text(server_configuration.read_text().replace("127.0.0.1:4222", f"127.0.0.1:{port}"))
    volumes = mounts_like_chart(files, folder, port, admin)
    with demo.Running(demo.Ending()) as running:
        server = running.start("nats-server", server_binary, "-c", server_configuration)
        server.wait_for("Server is ready", seconds=60)
        gate = running.start("callgate", *container.command(image, None, volumes, folder))
        gate.wait_for('"ready: answering authorization requests"', seconds=60)
        process = container.process_of(gate.process.pid)
        found = faults_of_confinement(process) + faults_of_logins(port, admin, gate)
        os.kill(process, signal.SIGTERM)
        try:
            status = gate.process.wait(30)
        except subprocess.TimeoutExpired:
            return [*found, "the program ignores SIGTERM as process 1"]
        if status != 0:
            found.append(f"the program ended with {status} on SIGTERM: {gate.lines[-5:]}")
    return found


def own(folder):
    """A folder that the image's user may write."""
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, int(USER), int(USER))
    return folder


def mounts_like_chart(files, folder, port, admin):
    """Seeds and configuration where the chart mounts its Secret and its ConfigMap."""
    config, secrets = own(folder / "config"), own(folder / "secrets")
    for seed in SEEDS:
        put(secrets / seed, (files / seed).read_text())
    put(config / "users.json", (files / "users.json").read_text())
    put(config / "callgate.yaml", json.dumps({
        "nats": {"servers": [f"nats://127.0.0.1:{port}"], "nkey": {"file": f"{SECRETS}/auth.nk"}},
        "issuer": {"seed": {"file": f"{SECRETS}/issuer.nk"}, "xkeys": [{"file": f"{SECRETS}/xkey.xk"}]},
        "authenticators": [{"users": {"file": f"{CONFIG}/users.json"}}],
        "admin": {"listen": f"127.0.0.1:{admin}"},
        "log": {"format": "json"},
    }))
    return [container.Volume(config, CONFIG, False), container.Volume(secrets, SECRETS, False)]


def put(path, text):
    path.write_text(text)
    path.chmod(0o400)
    if os.geteuid() == 0:
        os.chown(path, int(USER), int(USER))


def faults_of_confinement(process):
    """What the kernel says about the running program."""
    found = []
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines() if ":\t" in line)
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]:
        if int(status[name], 16) != 0:
            found.append(f"the program has the capabilities {name} {status[name]}")
    if status["NoNewPrivs"] != "1":
        found.append("the program can gain privileges")
    if os.geteuid() == 0 and status["Uid"].split() != [USER] * 4:
        found.append(f"the program runs as {status['Uid']}")
    mounts = [line.split() for line in Path(f"/proc/{process}/mountinfo").read_text().splitlines()]
    # Of several mounts in one place, the last one is on top.
    options = {mount[4]: mount[5].split(",") for mount in mounts}
    for place, flags in options.items():
        if not place.startswith(("/proc", "/dev/")) and "ro" not in flags:
            found.append(f"the program may write {place}")
    if "/" not in options:
        found.append("the root is not a mount of its own")
    return found


def faults_of_logins(port, admin, gate):
    found = []
    alice, bob = demo.Client(port, "alice", "alice"), demo.Client(port, "bob", "bob")
    if alice.publish("test") is not None:
        found.append("alice may not publish")
    if bob.publish("test") is None:
        found.append("bob may publish everywhere")
    try:
        demo.Client(port, "alice", "wrong")
        found.append("a wrong password is accepted")
    except demo.Refused:
        pass
    gate.wait_for('"reason":"bad_password"', seconds=60)
    for path in ["/livez", "/readyz", "/metrics"]:
        if (status := status_of(f"http://127.0.0.1:{admin}{path}")) != 200:
            found.append(f"{path} answers {status}")
    alice.close()
    bob.close()
    return found


def status_of(url):
    until = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError as error:
            if time.monotonic() > until:
                return error
            time.sleep(0.1)


# --- a registry ----------------------------------------------------------------------------------


def faults_of_push(registry, archive, push):
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), demo.free_port()
        configuration = folder / "registry.json"
        configuration.write_text(json.dumps({
            "version": 0.1, "log": {"level": "info"}, "http": {"addr": f"127.0.0.1:{port}"},
            "storage": {"filesystem": {"rootdirectory": str(folder / "content")}},
        }))
        with demo.Running(demo.Ending()) as running:
            running.start("registry", registry, "serve", configuration).wait_for("listening on", seconds=60)
            push(f"127.0.0.1:{port}/callgate:trial")
            request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/callgate/manifests/trial",
                                             headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                manifest = json.load(answer)
        pushed = container.unpack(archive, folder / "root").manifest
        # A registry may compress layers again; the configuration names their contents.
        same = manifest["config"]["digest"] == pushed["config"]["digest"]
        return [] if same else ["the registry serves another image than the one that was pushed"]
