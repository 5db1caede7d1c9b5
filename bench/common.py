"""What the measurements share: keys, servers, responders, and the commands of callgate-bench."""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "performance.json"
sys.path.insert(0, str(ROOT / "scripts"))
import tools  # noqa: E402


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(*command, **options):
    result = subprocess.run(command, capture_output=True, text=True, **options)
    if result.returncode != 0:
        raise SystemExit(f"{command[0]} failed:\n{result.stderr[-3000:]}")
    return result.stdout


def build():
    """The service and the bench in release, as (callgate, callgate-bench)."""
    subprocess.run(["cargo", "build", "--release", "-p", "callgate-server", "-p", "callgate-bench"],
                   cwd=ROOT, check=True)
    return built()


def built():
    release = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    return release / "callgate", release / "callgate-bench"


class Keys:
    """The keys, passwords and tokens that all responders share, in a folder."""

    def __init__(self, callgate, bench, folder, tokens=400, algorithm="RS256"):
        self.folder = folder
        self.issuer = run(callgate, "key", "account", "--out", folder / "issuer.nk").strip()
        self.xkey = run(callgate, "key", "curve", "--out", folder / "xkey.xk").strip()
        for name, text in [("password", "correct horse battery staple"), ("auth-password", "auth")]:
            (folder / name).write_text(text + "\n")
            (folder / name).chmod(0o600)
        run(bench, "tokens", "--count", str(tokens), "--algorithm", algorithm, "--out-dir", folder)
        first = (folder / "tokens").read_text().split("\n", 1)[0]
        (folder / "one-token").write_text(first + "\n")


def environment(keys, url, xkey):
    """What the peers read."""
    peer = {"NATS_URL": url.replace("nats://", "nats://auth:auth@"), "ISSUER_SEED_FILE": str(keys.folder / "issuer.nk"),
            "PASSWORD_FILE": str(keys.folder / "password"), "KEYS_FILE": str(keys.folder / "keys.json")}
    if xkey:
        peer["XKEY_SEED_FILE"] = str(keys.folder / "xkey.xk")
    return {**os.environ, **peer}


def service_tables(url, xkey=True, admin="", level="warn"):
    """The tables of a configuration that have nothing to do with identities."""
    return f"""
[nats]
servers = ["{url}"]
user = "auth"
password = {{ file = "auth-password" }}
[issuer]
seed = {{ file = "issuer.nk" }}
{'xkeys = [{ file = "xkey.xk" }]' if xkey else 'insecure_allow_plaintext = true'}
[admin]
listen = "{admin}"
[log]
level = "{level}"
"""


def callgate_config(keys, url, xkey, admin=""):
    path = keys.folder / "callgate.toml"
    users = {"alice": {"pass": (keys.folder / "password").read_text().strip(), "account": "APP",
                       "permissions": {"pub": ["orders.>"], "sub": ["orders.>", "_INBOX.>"]}}}
    (keys.folder / "users.json").write_text(json.dumps(users))
    path.write_text(service_tables(url, xkey, admin) + """\
[[authenticators]]
name = "users"
[authenticators.users]
file = "users.json"
[[authenticators]]
name = "oidc"
[authenticators.oidc]
issuer = "https://issuer.test"
audience = ["nats"]
jwks_file = "keys.json"
[roles.service]
publish = ["orders.>"]
subscribe = ["orders.>"]
inbox = "shared"
[[bindings]]
authenticator = "oidc"
account = "APP"
roles = ["service"]
""")
    return path


@contextlib.contextmanager
def nats_server(folder, callout=None):
    """A real nats-server: plain, for simulated servers, or with an auth callout for (issuer, xkey)."""
    port = free_port()
    accounts = "accounts { AUTH { users: [ { user: auth, password: auth } ] }, APP {} }\n"
    block = ""
    if callout:
        issuer, xkey = callout
        line = f'xkey: "{xkey}"' if xkey else ""
        block = f'authorization {{ auth_callout {{ issuer: "{issuer}", auth_users: [ auth ], account: AUTH, {line} }} }}\n'
    config = folder / f"nats-server-{port}.conf"
    config.write_text(f'listen: "127.0.0.1:{port}"\n{accounts}{block}')
    server = subprocess.Popen([tools.nats_server(), "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(port), server, "nats-server")
        yield server, port
    finally:
        server.terminate()
        server.wait()


def answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            return connection.recv(4) == b"INFO"
    except OSError:
        return False


def wait_for(probe, process, name, seconds=30):
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        if probe():
            return
        time.sleep(0.05)
    raise SystemExit(f"{name} does not answer")


def is_ready(admin):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


def wait_until_ready(admin, process):
    """Waits for Callgate, which may load a very large users file."""
    wait_for(lambda: is_ready(admin), process, "Callgate", seconds=300)


def memory(pid):
    status = open(f"/proc/{pid}/status").read().splitlines()
    size = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in status if line.startswith(("VmRSS", "VmHWM"))}
    return {"resident_mib": size["VmRSS"], "peak_mib": size["VmHWM"]}


@contextlib.contextmanager
def on_cores(cores):
    """Processes started in this context run on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def undisturbed():
    """What is started meanwhile is not interrupted by other processes of the machine, of whatever priority: it runs
    in real time. Says whether that is allowed here."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    except PermissionError:
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setscheduler(0, *before)


# Sleeps now and then: the kernel throttles real-time processes that never sleep.
STALLS = """
import sys, time
now = time.perf_counter()
end, sleep, stalls = now + float(sys.argv[1]), now, []
while now < end:
    if now > sleep:
        time.sleep(0.0002)
        sleep = time.perf_counter() + 0.001
    before, now = now, time.perf_counter()
    if now - before > 0.001:
        stalls.append(now - before)
print(sum(stalls), max(stalls, default=0))
"""


def stalls(cores, seconds=10):
    """How long a machine whose cores are all busy lets a process stand still for more than a millisecond: the part
    of the time, and the longest (in seconds). No latency can be better."""
    loops = []
    for core in cores:
        with on_cores([core]):
            loops.append(subprocess.Popen([sys.executable, "-c", STALLS, str(seconds)], stdout=subprocess.PIPE, text=True))
    told = [[float(word) for word in loop.communicate()[0].split()] for loop in loops]
    return {"part": max(lost for lost, _ in told) / seconds, "longest": max(longest for _, longest in told)}


@contextlib.contextmanager
def responder(command, env, probe, name):
    """A responder that answers, stopped at the end."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            try:
                wait_for(lambda: probe(process.pid), process, name)
            except SystemExit as error:
                log.seek(0)
                raise SystemExit(f"{error}\n{log.read()[-3000:]}") from None
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def scratch():
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def login(keys, work):
    if work is None:
        return []
    if work == "password":
        return ["--user", "alice", "--password-file", keys.folder / "password"]
    return ["--tokens", keys.folder / ("tokens" if work == "token, new" else "one-token")]


def flood(bench, keys, port, work, requests, *, xkey=True, depth=32, pids=(None, None), more=()):
    command = [bench, "flood", "--json", "--server", f"127.0.0.1:{port}", "--server-user", "auth",
               "--server-password-file", keys.folder / "auth-password", "--issuer", keys.issuer,
               "--requests", str(requests), "--depth", str(depth), *login(keys, work), *more]
    if xkey:
        command += ["--xkey", keys.xkey]
    return json.loads(run(*command, *pid_options(pids)))


def storm(bench, keys, port, clients, *, pids=(None, None), more=()):
    command = [bench, "storm", "--json", "--server", f"127.0.0.1:{port}", "--clients", str(clients),
               "--user", "alice", "--password-file", keys.folder / "password", *more]
    return json.loads(run(*command, *pid_options(pids)))


def pid_options(pids):
    names = ("--responder-pid", "--server-pid")
    return [text for name, pid in zip(names, pids) if pid for text in (name, str(pid))]


def machine():
    model = "unknown"
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    version = run(tools.nats_server(), "--version").strip()
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.system(), "server": version,
            "date": time.strftime("%Y-%m-%d")}


def measurements(description, what, results, **options):
    """The command line of a script whose functions in `what` each measure something. `options` are more numbers."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="what", help=f"of {', '.join(what)}; without any: all")
    for name, default in {"rounds": 9, **options}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--record", action="store_true", help=f"write the result into {results.relative_to(ROOT)}")
    arguments = parser.parse_args()
    unknown = set(arguments.what) - set(what)
    if unknown:
        parser.error(f"unknown measurement {', '.join(unknown)}; known: {', '.join(what)}")
    tools = build()
    for name in arguments.what or what:
        with scratch() as folder:
            result = what[name](tools, folder, arguments)
        print(name, json.dumps(result, indent=1))
        if arguments.record:
            record(name, result, results)


def record(section, value, file=RESULTS):
    """Puts a section into a file of results, usually docs/performance.json."""
    results = json.loads(file.read_text()) if file.exists() else {}
    results[section] = value
    earlier = results.get("machine", {})
    results["machine"] = machine()
    if file == RESULTS:
        # Each section has a date of its own; this one is that of the sections recorded before they had.
        results["machine"]["date"] = earlier.get("date", results["machine"]["date"])
        commit = run("git", "rev-parse", "--short", "HEAD", cwd=ROOT).strip()
        results.setdefault("builds", {})[section] = f"{commit}, {time.strftime('%Y-%m-%d')}"
    file.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
