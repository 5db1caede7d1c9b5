#!/usr/bin/env python3
"""Measures authenticators that ask a backend: PostgreSQL, OpenLDAP, a web service, a service on a subject, a bucket.

Variants run side by side, each with its own nats-server, and are loaded in turn by simulated servers
(`callgate-bench flood`). A ratio is the median of the ratios of all rounds. Needs Go, and the servers that
`scripts/tools.py debian` installs.

    python3 bench/backends.py [peers] [loops] [questions] [reconnect] [hang] [kv] [--record]
"""

import base64
import contextlib
import json
import os
import socket
import statistics
import subprocess
import time

import common
import responders
from common import ROOT, run
from side_by_side import Meter, Variant, compared, interleave

PEER = ROOT / "bench" / "peers" / "go-backends"
WORK = ROOT / ".tools" / "bench"
RESULTS = ROOT / "docs" / "performance-backends.json"
TOKENS = 8000
CEILING = '[authenticators.ceiling]\naccounts = ["APP"]\nroles = ["service"]\n'
# The services in Python are slow.
PATIENT = 'timeout = "10s"\n'
ROLE = '[[accounts]]\nname = "APP"\n[roles.service]\npublish = ["orders.>"]\nsubscribe = ["orders.>"]\ninbox = "shared"\n'


def keys_for(tools, folder):
    """Keys, and tokens that are no JWTs: `token-1` and so on."""
    keys = common.Keys(*tools, folder, tokens=1)
    (folder / "tokens").write_text("".join(f"token-{number}\n" for number in range(1, TOKENS + 1)))
    (folder / "one-token").write_text("token-1\n")
    (folder / "directory-user").write_text("user1\n")
    return keys


def config_of(keys, name, port, authenticators, tables="", admin=""):
    """A configuration with these authenticators; identities get the role `service`."""
    path = keys.folder / f"{name}.toml"
    tables_of_service = common.service_tables(f"nats://127.0.0.1:{port}", admin=admin)
    path.write_text(f'default_account = "APP"\n{tables_of_service}{ROLE}{tables}{authenticators}')
    return path


def entry(name, table, kind, more=""):
    """An entry of `[[authenticators]]`; `table` begins with its kind's header."""
    return f'[[authenticators]]\nname = "{name}"\n{more}{table.replace(f"[{kind}]", f"[authenticators.{kind}]")}'


@contextlib.contextmanager
def backend(bench, kind):
    """A real backend with users: its address and its table."""
    process = subprocess.Popen([bench, "backend", kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{kind} does not start")
        yield json.loads(line)
    finally:
        process.stdin.close()
        process.wait(20)


def build_peer():
    WORK.mkdir(parents=True, exist_ok=True)
    binary = WORK / "peer-backends"
    run("go", "build", "-o", binary, ".", cwd=PEER)
    return binary


def login_of(kind, keys):
    """What clients of the load present."""
    if kind == "slapd":
        return ["--user", "user1", "--password-file", keys.folder / "directory-user"]
    return ["--tokens", keys.folder / "tokens"]


def flood(bench, keys, port, login, requests, *, depth=32, more=()):
    command = [bench, "flood", "--json", "--server", f"127.0.0.1:{port}", "--server-user", "auth",
               "--server-password-file", keys.folder / "auth-password", "--issuer", keys.issuer, "--xkey", keys.xkey,
               "--requests", str(requests), "--depth", str(depth), *login, *more]
    return json.loads(run(*command))


@contextlib.contextmanager
def loaded(name, command, env, bench, keys, port, login, requests, depth=32):
    def admits(_pid):
        return flood(bench, keys, port, login, 1)["admitted"] == 1

    def load():
        return flood(bench, keys, port, login, requests, depth=depth)
    with common.responder(command, env, admits, name) as process:
        yield Variant(name, process.pid, load)


def peers(tools, folder, arguments):
    """CPU time per admission, next to the same lookup in Go."""
    peer = build_peer()
    return {kind: against_peer(tools, folder, arguments, kind, peer) for kind in ("postgres", "slapd")}


def against_peer(tools, folder, arguments, kind, peer):
    callgate, bench = tools
    place = folder / kind
    place.mkdir()
    keys = keys_for(tools, place)
    name = {"postgres": "sql", "slapd": "ldap"}[kind]
    login = login_of(kind, keys)
    with contextlib.ExitStack() as running:
        there = running.enter_context(backend(bench, kind))
        _, ours = running.enter_context(common.nats_server(place))
        _, theirs = running.enter_context(common.nats_server(place))
        # Every login asks: nothing is remembered.
        entries = entry("people", there["toml"], name) + CEILING
        binding = '[[bindings]]\nroles = ["service"]\n'
        config = config_of(keys, kind, ours, entries, '[cache]\npasswords = "0s"\n' + binding)
        env = {**common.environment(keys, f"nats://127.0.0.1:{theirs}", True), "BACKEND_URL": there["url"],
               "QUERY": "SELECT name, roles FROM users WHERE digest = $1 AND enabled", "BASE": "ou=people,dc=example,dc=org",
               "BIND_DN": "cn=svc,dc=example,dc=org", "BIND_PASSWORD": "secret", "FILTER": "(&(objectClass=person)(uid=%s))"}
        # Identical logins at the same time are one question, and clients of a directory are all `user1`.
        load = (arguments.requests, 32) if kind == "postgres" else (arguments.requests // 4, 1)
        variants = [running.enter_context(loaded("go", [peer], env, bench, keys, theirs, login, *load)),
                    running.enter_context(loaded("callgate", [callgate, "serve", "--config", config], None, bench, keys,
                                                 ours, login, *load))]
        interleave(variants, arguments.rounds)
    return compared(variants)


def loops(tools, _folder, arguments):
    """Logins per second of the authenticator, next to a bare loop on the same client library."""
    report = {}
    for kind in ("postgres", "slapd"):
        # It fails unless the backend counts a lookup for every login.
        result = json.loads(run(tools[1], "rates", kind, "--rounds", str(arguments.rounds)))
        rounds = result["rounds"]
        report[kind] = {"logins": result["logins"], "lookups": result["lookups"],
                        "ours": statistics.median(one["ours"] for one in rounds),
                        "bare": statistics.median(one["bare"] for one in rounds),
                        "ratio": statistics.median(one["ours"] / one["bare"] for one in rounds)}
    return report


def questions(tools, folder, arguments):
    """CPU time of a decision that asks a service, next to one by token from a users file."""
    callgate, bench = tools
    keys = keys_for(tools, folder)
    users = {f"user{number}": {"token": f"token-{number}", "account": "APP", "roles": ["service"]}
             for number in range(1, TOKENS + 1)}
    (folder / "people.json").write_text(json.dumps(users))
    with contextlib.ExitStack() as running:
        url, _ = running.enter_context(responders.http())
        tables = {"users": entry("people", '[users]\nfile = "people.json"\n', "users"),
                  "http": entry("people", f'[http]\nurl = "{url}"\ntakes = ["token"]\n', "http", PATIENT) + CEILING,
                  "nats": entry("people", '[nats]\nsubject = "ask.people"\ntakes = ["token"]\n', "nats", PATIENT) + CEILING}
        variants = []
        for name, table in tables.items():
            _, port = running.enter_context(common.nats_server(folder))
            if name == "nats":
                running.enter_context(responders.nats(port, "ask.people"))
            command = [callgate, "serve", "--config", config_of(keys, name, port, table)]
            variants.append(running.enter_context(loaded(name, command, None, bench, keys, port, login_of(name, keys),
                                                         arguments.requests)))
        interleave(variants, arguments.rounds)
    return compared(variants)


def reconnect(tools, folder, arguments):
    """10,000 logins at once with 100 distinct credentials: how many questions the service gets."""
    callgate, bench = tools
    keys = keys_for(tools, folder)
    (folder / "hundred").write_text("".join(f"token-{number}\n" for number in range(1, 101)))
    with contextlib.ExitStack() as running:
        url, asked = running.enter_context(responders.http())
        table = f'[http]\nurl = "{url}"\ntakes = ["token"]\nremember = "60s"\n'
        _, port = running.enter_context(common.nats_server(folder))
        config = config_of(keys, "reconnect", port, entry("people", table, "http", PATIENT) + CEILING)
        login = ["--tokens", folder / "hundred"]
        command = [callgate, "serve", "--config", config]
        running.enter_context(loaded("reconnect", command, None, bench, keys, port, login, 1))
        waves = []
        for _ in range(2):
            before = asked.count
            result = flood(bench, keys, port, login, 10_000, depth=10_000)
            waves.append({"admitted": result["admitted"], "questions": asked.count - before, "seconds": result["seconds"]})
    return {"credentials": 100, "waves": waves}


def hang(tools, folder, arguments):
    """The latency of decisions by a users file while the backend of another authenticator answers, and while it hangs."""
    callgate, bench = tools
    keys = keys_for(tools, folder)
    users = {"alice": {"pass": (folder / "password").read_text().strip(), "account": "APP", "roles": ["service"]}}
    (folder / "people.json").write_text(json.dumps(users))
    password = ["--user", "alice", "--password-file", folder / "password"]
    with contextlib.ExitStack() as running:
        url, asked = running.enter_context(responders.http())
        _, port = running.enter_context(common.nats_server(folder))
        table = f'[http]\nurl = "{url}"\ntakes = ["token"]\n'
        entries = entry("people", '[users]\nfile = "people.json"\n', "users") + entry("others", table, "http") + CEILING
        command = [callgate, "serve", "--config", config_of(keys, "hang", port, entries)]
        running.enter_context(loaded("hang", command, None, bench, keys, port, password, 1))
        rounds = []
        for number in range(arguments.rounds):
            pair = {}
            for hangs in ((False, True) if number % 2 else (True, False)):
                asked.hangs.set() if hangs else asked.hangs.clear()
                time.sleep(1.5)
                pair["hanging" if hangs else "answering"] = beside(bench, keys, port, password)
            rounds.append(pair)
        asked.hangs.clear()
    report = {name: statistics.median(one[name]["p99"] for one in rounds) for name in ("answering", "hanging")}
    report["ratio"] = statistics.median(one["hanging"]["p99"] / one["answering"]["p99"] for one in rounds)
    report["p50_ratio"] = statistics.median(one["hanging"]["p50"] / one["answering"]["p50"] for one in rounds)
    return report


def beside(bench, keys, port, password):
    """500 logins a second by password, while 100 a second need the backend."""
    more = ["--rate", "100", "--json", "--requests", "800", "--tokens", keys.folder / "tokens"]
    other = subprocess.Popen([bench, "flood", "--server", f"127.0.0.1:{port}", "--server-user", "auth",
                              "--server-password-file", keys.folder / "auth-password", "--issuer", keys.issuer,
                              "--xkey", keys.xkey, *more], stdout=subprocess.DEVNULL)
    time.sleep(1)
    result = flood(bench, keys, port, password, 3000, more=["--rate", "500"])
    other.kill()
    other.wait()
    if result["admitted"] != result["requests"]:
        raise SystemExit(f"not every client was admitted: {result}")
    return result


def hashed(number):
    """An entry with a hash that is never computed: its salt and digest are random."""
    salt, digest = (base64.b64encode(os.urandom(size)).decode().rstrip("=") for size in (16, 32))
    return {"password": f"$argon2id$v=19$m=19456,t=2,p=1${salt}${digest}", "account": "APP", "roles": ["service"]}


def kv(tools, folder, arguments):
    """100,000 users in a bucket and in a file: seconds until ready, and resident memory."""
    keys = keys_for(tools, folder)
    users = {f"user{number}": hashed(number) for number in range(100_000)}
    (folder / "people.json").write_text(json.dumps(users))
    text = f"""accounts {{ AUTH {{ jetstream: enabled, users: [ {{ user: auth, password: auth }} ] }}, APP {{}} }}
jetstream {{ store_dir: "{folder}/jetstream", max_file_store: 1GB }}
"""
    with server_of(folder, text) as port:
        fill(port, users)
        tables = {"users": entry("people", '[users]\nfile = "people.json"\n', "users"),
                  "kv": entry("people", '[kv]\nbucket = "users"\n', "kv") + CEILING}
        rounds = {name: [] for name in tables}
        for _ in range(arguments.rounds):
            for name, table in tables.items():
                rounds[name].append(started(tools[0], keys, name, port, table))
    median = {name: {key: statistics.median(one[key] for one in all_of) for key in ("seconds", "cpu", "mib")}
              for name, all_of in rounds.items()}
    return {**median, "memory_ratio": median["kv"]["mib"] / median["users"]["mib"]}


@contextlib.contextmanager
def server_of(folder, text):
    port = common.free_port()
    config = folder / "nats-server.conf"
    config.write_text(f'listen: "127.0.0.1:{port}"\n{text}')
    server = subprocess.Popen([common.tools.nats_server(), "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        common.wait_for(lambda: common.answers(port), server, "nats-server")
        yield port
    finally:
        server.terminate()
        server.wait()


def fill(port, users):
    """Creates the bucket, and puts every user into it."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        lines = connection.makefile("rb")
        lines.readline()
        connection.sendall(b'CONNECT {"user":"auth","pass":"auth","verbose":false,"pedantic":false}\r\nSUB _INBOX.b 1\r\n')
        stream = json.dumps({"name": "KV_users", "subjects": ["$KV.users.>"], "max_msgs_per_subject": 1, "storage": "file",
                             "allow_rollup_hdrs": True, "deny_delete": True, "allow_direct": True, "discard": "new",
                             "max_bytes": -1, "max_age": 0, "max_msg_size": -1, "num_replicas": 1}).encode()
        connection.sendall(b"PUB $JS.API.STREAM.CREATE.KV_users _INBOX.b %d\r\n%s\r\n" % (len(stream), stream))
        answer = json.loads(message(connection, lines))
        if "error" in answer:
            raise SystemExit(f"cannot create the bucket: {answer}")
        for number, (name, value) in enumerate(users.items()):
            payload = json.dumps(value).encode()
            # Every hundredth is acknowledged, so that the server keeps up.
            reply = b"_INBOX.b " if number % 100 == 99 else b""
            connection.sendall(b"PUB $KV.users.%s %s%d\r\n%s\r\n" % (name.encode(), reply, len(payload), payload))
            if reply:
                message(connection, lines)


def message(connection, lines):
    """The payload of the next message."""
    while (line := lines.readline()):
        if line == b"PING\r\n":
            connection.sendall(b"PONG\r\n")
        if line.startswith(b"MSG "):
            return lines.read(int(line.split()[-1]) + 2)
    raise SystemExit("nats-server closed the connection")


def started(callgate, keys, name, port, table):
    admin = common.free_port()
    config = config_of(keys, name, port, table, admin=f"127.0.0.1:{admin}")
    begun = time.monotonic()
    process = subprocess.Popen([callgate, "serve", "--config", config], stderr=subprocess.DEVNULL)
    try:
        with Meter(process.pid) as meter:
            while not common.is_ready(admin):
                time.sleep(0.005)
            seconds = time.monotonic() - begun
        time.sleep(1)
        return {"seconds": seconds, "cpu": meter.seconds, "mib": common.memory(process.pid)["resident_mib"]}
    finally:
        process.terminate()
        process.wait()


WHAT = {"peers": peers, "loops": loops, "questions": questions, "reconnect": reconnect, "hang": hang, "kv": kv}


def main():
    common.measurements(__doc__, WHAT, RESULTS, requests=5000)


if __name__ == "__main__":
    main()
