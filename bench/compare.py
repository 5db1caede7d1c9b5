#!/usr/bin/env python3
"""Callgate beside other callouts, in one run on one machine: what does an answer cost?

Every responder does the same work for the same made-up servers on a plain nats-server: an xkey, one
user by password in clear, one RS256 bearer token (the same one again, and new ones). They run in
turn, interleaved, several rounds; the best round of each counts, and ratios are what matters.

    python3 bench/compare.py [--rounds 3] [--requests 4000] [--only callgate,go] [--json FILE]
"""

import argparse
import base64
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = ROOT / "bench" / "peers"
WORK = ROOT / ".tools" / "bench"
sys.path.insert(0, str(ROOT / "scripts"))
import tools  # noqa: E402


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


class Keys:
    """The keys, passwords and tokens that all responders share."""

    def __init__(self, callgate, folder, tokens):
        self.folder = folder
        self.issuer = run(callgate, "key", "account", "--out", folder / "issuer.nk").strip()
        self.xkey = run(callgate, "key", "curve", "--out", folder / "xkey.xk").strip()
        (folder / "password").write_text("correct horse battery staple\n")
        self.sign_tokens(tokens)

    def sign_tokens(self, count):
        """RS256 tokens by the openssl command, which every machine with a compiler has."""
        private = self.folder / "rsa.pem"
        run("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", private)
        (self.folder / "public.pem").write_text(run("openssl", "pkey", "-in", private, "-pubout"))
        modulus = run("openssl", "rsa", "-in", private, "-noout", "-modulus").strip().split("=")[1]
        number = lambda value: base64.urlsafe_b64encode(value).rstrip(b"=").decode()
        key = {"kty": "RSA", "kid": "bench", "alg": "RS256", "use": "sig", "e": "AQAB",
               "n": number(bytes.fromhex(modulus))}
        (self.folder / "jwks.json").write_text(json.dumps({"keys": [key]}))
        now = int(time.time())
        header = number(b'{"typ":"JWT","alg":"RS256","kid":"bench"}')
        lines = []
        for index in range(count):
            claims = {"iss": "https://issuer.test", "aud": "nats", "sub": f"service-{index}",
                      "iat": now, "exp": now + 3600}
            signed = f"{header}.{number(json.dumps(claims).encode())}"
            signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", private],
                                       input=signed.encode(), check=True, capture_output=True).stdout
            lines.append(f"{signed}.{number(signature)}")
        (self.folder / "one-token").write_text(lines[0] + "\n")
        (self.folder / "tokens").write_text("\n".join(lines) + "\n")


def environment(keys, url):
    return {**os.environ, "NATS_URL": url, "ISSUER_SEED_FILE": str(keys.folder / "issuer.nk"),
            "XKEY_SEED_FILE": str(keys.folder / "xkey.xk"), "PASSWORD_FILE": str(keys.folder / "password"),
            "PUBLIC_KEY_FILE": str(keys.folder / "public.pem")}


def callgate_config(keys, url):
    path = keys.folder / "callgate.toml"
    users = {"alice": {"pass": (keys.folder / "password").read_text().strip(), "account": "APP",
                       "permissions": {"pub": ["orders.>"], "sub": ["orders.>", "_INBOX.>"]}}}
    (keys.folder / "users.json").write_text(json.dumps(users))
    path.write_text(f"""
[nats]
servers = ["{url}"]
user = "auth"
password = {{ file = "nats-password" }}
[issuer]
seed = {{ file = "issuer.nk" }}
xkeys = [{{ file = "xkey.xk" }}]
insecure_share_callout_account = true
[[authenticators]]
name = "users"
[authenticators.users]
file = "users.json"
[[authenticators]]
name = "oidc"
[authenticators.oidc]
issuer = "https://issuer.test"
audience = ["nats"]
jwks_file = "jwks.json"
[roles.service]
publish = ["orders.>"]
subscribe = ["orders.>"]
inbox = "shared"
[[bindings]]
authenticator = "oidc"
account = "APP"
roles = ["service"]
[admin]
listen = ""
[log]
level = "warn"
""")
    (keys.folder / "nats-password").write_text("auth\n")
    return path


class Responder:
    def __init__(self, command, env, ready):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, env=env, stdout=self.log, stderr=subprocess.STDOUT)
        self.ready = ready

    def wait(self, probe):
        until = time.monotonic() + 30
        while time.monotonic() < until and self.process.poll() is None:
            if probe():
                return
            time.sleep(0.1)
        self.log.seek(0)
        raise SystemExit(f"{self.process.args[0]} does not answer:\n{self.log.read()[-2000:]}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def build_go():
    binary = WORK / "peer-go"
    run("go", "build", "-o", binary, ".", cwd=PEERS / "go")
    return [binary]


def build_javascript():
    folder = WORK / "javascript"
    folder.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json", "responder.mjs"):
        shutil.copy(PEERS / "javascript" / name, folder)
    if not (folder / "node_modules").exists():
        run("npm", "ci", "--no-audit", "--no-fund", cwd=folder)
    return ["node", folder / "responder.mjs"]


def build_python():
    folder = WORK / "python"
    if not folder.exists():
        run(sys.executable, "-m", "venv", folder)
        run(folder / "bin" / "pip", "install", "--quiet", "-r", PEERS / "python" / "requirements.txt")
    return [folder / "bin" / "python", PEERS / "python" / "responder.py"]


PEER_BUILDS = {"go": build_go, "python": build_python, "javascript": build_javascript}


def flood(bench, port, keys, work, requests, depth, pid, server_pid):
    command = [bench, "flood", "--json", "--server", f"127.0.0.1:{port}", "--issuer", keys.issuer,
               "--xkey", keys.xkey, "--requests", str(requests), "--depth", str(depth),
               "--responder-pid", str(pid), "--server-pid", str(server_pid)]
    if work == "password":
        command += ["--user", "alice", "--password-file", keys.folder / "password"]
    else:
        command += ["--tokens", keys.folder / ("tokens" if work == "token, new" else "one-token")]
    return json.loads(run(*command))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--depth", type=int, default=32)
    parser.add_argument("--only", default="callgate,go,python,javascript")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    WORK.mkdir(parents=True, exist_ok=True)
    run("cargo", "build", "--release", "-p", "callgate-server", "-p", "callgate-bench", cwd=ROOT)
    release = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    callgate, bench = release / "callgate", release / "callgate-bench"
    commands = {}
    for name in names:
        if name != "callgate":
            commands[name] = PEER_BUILDS[name]()
    folder = pathlib.Path(tempfile.mkdtemp())
    keys = Keys(callgate, folder, 400)
    port = free_port()
    url = f"nats://127.0.0.1:{port}"
    config = folder / "nats-server.conf"
    config.write_text(f'listen: "127.0.0.1:{port}"\n'
                      'accounts { A { users: [ { user: auth, password: auth } ] } }\nno_auth_user: auth\n')
    commands["callgate"] = [callgate, "serve", "--config", callgate_config(keys, url)]
    server = subprocess.Popen([tools.nats_server(), "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    best = {}
    try:
        time.sleep(1)
        for number in range(arguments.rounds):
            for name in names:
                measure(name, commands[name], keys, url, port, bench, server.pid, arguments, best)
            print(f"round {number + 1} of {arguments.rounds} done", file=sys.stderr)
    finally:
        server.terminate()
        shutil.rmtree(folder, ignore_errors=True)
    report(best, names)
    if arguments.json:
        arguments.json.write_text(json.dumps(best, indent=1))


WORKS = ("password", "token, seen", "token, new")


def measure(name, command, keys, url, port, bench, server_pid, arguments, best):
    responder = Responder(command, environment(keys, url), None)
    pid = responder.process.pid
    try:
        def answers():
            result = flood(bench, port, keys, "password", 1, 1, pid, server_pid)
            return result["admitted"] == 1
        responder.wait(answers)
        for work in WORKS:
            flood(bench, port, keys, "token, seen" if "token" in work else work, 300, 16, pid, server_pid)
            requests = 400 if work == "token, new" else arguments.requests
            result = flood(bench, port, keys, work, requests, arguments.depth, pid, server_pid)
            if result["admitted"] != requests:
                raise SystemExit(f"{name}, {work}: {result}")
            mine = best.setdefault(name, {})
            if work not in mine or result["responder_cpu"] < mine[work]["responder_cpu"]:
                mine[work] = result
    finally:
        responder.stop()


def report(best, names):
    for work in WORKS:
        print(f"\n{work}")
        print(f"{'':12}{'CPU µs':>10}{'ratio':>8}{'per s':>9}{'p50 µs':>9}{'p99 µs':>9}{'MiB':>7}")
        base = best["callgate"][work]["responder_cpu"] if "callgate" in best else None
        for name in names:
            row = best[name][work]
            ratio = f"{row['responder_cpu'] / base:.2f}" if base else ""
            print(f"{name:12}{row['responder_cpu']:10.0f}{ratio:>8}{row['per_second']:9.0f}"
                  f"{row['p50']:9.0f}{row['p99']:9.0f}{row['responder_peak_mib']:7.0f}")


if __name__ == "__main__":
    main()
