#!/usr/bin/env python3
"""Measures what locks, sessions, the audit and the policy tools cost.

Variants of one configuration run side by side, each with its own nats-server, and are loaded in turn by
simulated servers (`callgate-bench flood`). A ratio is the median of the ratios of all rounds.

    python3 bench/operations.py [state] [fleet] [audit] [verify] [tests] [replay] [shadow] [--record]
"""

import contextlib
import hashlib
import json
import re
import resource
import socket
import statistics
import subprocess
import sys
import time

import common
from common import ROOT, run
from side_by_side import compared, flooded, interleave

RESULTS = ROOT / "docs" / "performance-operations.json"
LOCKS = 10_000
# What the service may publish with [state], and what the user of [system] may do: docs/revocation.md.
PUBLISH = ["_INBOX.>", "$SYS._INBOX.>", "$SYS.REQ.USER.INFO", "$SRV.INFO", "CALLGATE.>", "$JS.API.INFO",
           "$JS.API.STREAM.INFO.KV_callgate", "$JS.API.STREAM.CREATE.KV_callgate",
           "$JS.API.CONSUMER.CREATE.KV_callgate", "$JS.API.CONSUMER.CREATE.KV_callgate.>",
           "$JS.API.CONSUMER.DELETE.KV_callgate.>", "$JS.FC.KV_callgate.>", "$KV.callgate.>"]
SYSTEM_PUBLISH = ["$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.*.CONNZ",
                  "$SYS.REQ.SERVER.*.KICK", "$SYS.REQ.USER.INFO"]
SYSTEM_SUBSCRIBE = ["_INBOX.>", "$SYS.ACCOUNT.*.CONNECT", "$SYS.ACCOUNT.*.DISCONNECT", "$SYS.SERVER.*.CLIENT.AUTH.ERR"]


def server_text(name, folder, callout=None, routes=(None, ())):
    """A server with JetStream and a system account; with an auth callout for (issuer, xkey)."""
    own_route, others = routes
    cluster = ""
    if own_route:
        urls = ", ".join(f'"nats://127.0.0.1:{port}"' for port in others)
        cluster = f'cluster {{ name: fleet, listen: "127.0.0.1:{own_route}", routes: [ {urls} ] }}\n'
    block = ""
    if callout:
        issuer, xkey = callout
        block = f"""authorization {{ timeout: 5, auth_callout {{ issuer: "{issuer}", xkey: "{xkey}", account: AUTH,
  auth_users: [ auth, system ] }} }}\n"""
    # Simulated servers send requests as `auth`, so it may publish everything unless the server is a real one.
    permissions = f"permissions: {{ publish: {json.dumps(PUBLISH if callout else '>')}, subscribe: \">\" }}"
    return f"""server_name: "{name}"
accounts {{
  AUTH {{ jetstream: enabled, users: [ {{ user: auth, password: auth, {permissions} }} ] }}
  APP {{}}
  SYS {{ users: [ {{ user: system, password: system, permissions: {{ publish: {json.dumps(SYSTEM_PUBLISH)},
    subscribe: {json.dumps(SYSTEM_SUBSCRIBE)} }} }} ] }}
}}
system_account: SYS
jetstream {{ store_dir: "{folder}/jetstream-{name}", max_file_store: 256MB, max_memory_store: 64MB }}
{cluster}{block}"""


@contextlib.contextmanager
def nats_server(name, folder, **options):
    port = common.free_port()
    config = folder / f"{name}.conf"
    config.write_text(f'listen: "127.0.0.1:{port}"\n{server_text(name, folder, **options)}')
    server = subprocess.Popen([common.tools.nats_server(), "-c", config], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    try:
        common.wait_for(lambda: common.answers(port), server, "nats-server")
        yield server, port
    finally:
        server.terminate()
        server.wait()


def config_of(keys, name, port, tables="", urls=None):
    """The configuration of `common`, with further tables; in a folder of its own."""
    base = common.callgate_config(keys, urls or f"nats://127.0.0.1:{port}", True, f"127.0.0.1:{common.free_port()}")
    path = keys.folder / f"{name}.toml"
    path.write_text(base.read_text() + tables)
    return path


STATE = '[state]\nreplicas = {replicas}\n[system]\nuser = "system"\npassword = "system"\nreconcile = "10m"\n'


@contextlib.contextmanager
def variants(tools, folder, tables, **load):
    """A running variant for each (name, tables, prepare), all with the same keys."""
    callgate, bench = tools
    keys = common.Keys(callgate, bench, folder)
    with contextlib.ExitStack() as running:
        started = []
        for name, text, prepare in tables:
            _, port = running.enter_context(nats_server(name.replace(" ", "-"), folder))
            config = config_of(keys, name.replace(" ", "-"), port, text)
            started.append(running.enter_context(flooded(name, callgate, bench, keys, config, port, **load)))
            if prepare:
                prepare(port)
        yield started


class Wire:
    """A connection that publishes, and waits until all of it has arrived."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.lines = self.socket.makefile("rb")
        self.lines.readline()
        self.socket.sendall(b'CONNECT {"user":"auth","pass":"auth","verbose":false,"pedantic":false}\r\n')

    def publish(self, messages):
        for subject, text in messages:
            payload = text.encode()
            self.socket.sendall(f"PUB {subject} {len(payload)}\r\n".encode() + payload + b"\r\n")
        self.socket.sendall(b"PING\r\n")
        while (line := self.lines.readline()) != b"PONG\r\n":
            if not line:
                raise SystemExit("nats-server closed the connection")

    def close(self):
        self.socket.close()


def put_locks(port):
    """Stores locks of every usual kind, none of which matches the clients of the load."""
    targets = [lambda n: {"user": f"user{n}"}, lambda n: {"user": f"user{n}", "authenticator": "users"},
               lambda n: {"group": f"group{n}"}, lambda n: {"source": f"10.{n >> 8 & 255}.{n & 255}.0/24"},
               lambda n: {"role": f"role{n}", "account": "APP"}]
    wire = Wire(port)
    wire.publish((f"$KV.callgate.lock.B{number:05}",
                  json.dumps({"v": 1, "target": targets[number % len(targets)](number), "actor": "bench"}))
                 for number in range(LOCKS))
    wire.close()
    # Until the replica has read them.
    time.sleep(5)


def state(tools, folder, arguments):
    """Decisions with [state] and [system], and with 10,000 locks in force."""
    text = STATE.format(replicas=1)
    tables = [("without", "", None), ("state and system", text, None), ("10000 locks", text, put_locks)]
    with variants(tools, folder, tables) as started:
        interleave(started, arguments.rounds)
    report = compared(started)
    pairs = zip(started[1].rounds, started[2].rounds)
    report["10000 locks"]["p50_ratio_to_state"] = statistics.median(locks["p50"] / none["p50"] for none, locks in pairs)
    pairs = zip(started[1].rounds, started[2].rounds)
    report["10000 locks"]["cpu_ratio_to_state"] = statistics.median(locks["cpu"] / none["cpu"] for none, locks in pairs)
    return report


@contextlib.contextmanager
def fleet_of_three(tools, folder):
    """Three servers in a cluster, and three replicas: (keys, ports, configurations)."""
    callgate, bench = tools
    keys = common.Keys(callgate, bench, folder)
    routes = [common.free_port() for _ in range(3)]
    with contextlib.ExitStack() as running:
        servers = [running.enter_context(nats_server(f"n{number}", folder, callout=(keys.issuer, keys.xkey),
                                                     routes=(routes[number], routes))) for number in range(3)]
        ports = [port for _, port in servers]
        configs = []
        for number in range(3):
            socket_table = f'[control]\nsocket = "control-{number}.sock"\n'
            urls = '", "'.join(f"nats://127.0.0.1:{port}" for port in ports)
            config = config_of(keys, f"replica{number}", None, STATE.format(replicas=3) + socket_table, urls)
            running.enter_context(replica(callgate, bench, keys, ports[number], config))
            configs.append(config)
        yield keys, ports, configs


def replica(callgate, bench, keys, port, config):
    def admits(_pid):
        return common.storm(bench, keys, port, 1, more=["--patience-seconds", "3"])["admitted"] == 1
    return common.responder([callgate, "serve", "--config", config], None, admits, "callgate")


@contextlib.contextmanager
def clients(bench, keys, port, count, at_a_time=64):
    """This many clients, connected until the end."""
    command = [bench, "storm", "--json", "--hold", "--server", f"127.0.0.1:{port}", "--clients", str(count),
               "--user", "alice", "--password-file", keys.folder / "password", "--at-a-time", str(at_a_time)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        admitted = json.loads(process.stdout.readline())["admitted"]
        if admitted != count:
            raise SystemExit(f"{admitted} of {count} clients were admitted")
        yield process
    finally:
        process.kill()
        process.wait()


def fleet(tools, folder, arguments):
    """Locks and lists on three servers with three replicas."""
    callgate, bench = tools
    rounds = []
    with fleet_of_three(tools, folder) as (keys, ports, configs):
        for number in range(arguments.rounds):
            rounds.append(lock_round(callgate, bench, keys, ports, configs, number))
            print(f"fleet: {rounds[-1]}", file=sys.stderr)
        with contextlib.ExitStack() as running:
            for port, count in zip(ports, (3334, 3333, 3333)):
                running.enter_context(clients(bench, keys, port, count))
            time.sleep(3)
            lists = [listed(callgate, configs[number % 3]) for number in range(arguments.rounds)]
    return {"locks": rounds, "lists": lists}


def lock_round(callgate, bench, keys, ports, configs, number):
    """1,000 sessions, and a lock of their user: seconds until replicas have it, and until all are gone."""
    with contextlib.ExitStack() as running:
        held = [running.enter_context(clients(bench, keys, port, count)) for port, count in zip(ports, (334, 333, 333))]
        time.sleep(1)
        begun = time.monotonic()
        command = subprocess.Popen([callgate, "lock", "--user", "alice", "--yes", "--config", configs[number % 3]],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for process in held:
            process.wait(60)
        gone = time.monotonic() - begun
        text, _ = command.communicate()
    if command.returncode != 0:
        raise SystemExit(f"lock: {text}")
    # "in force on 3 of 3 replicas after 0.02 s"
    line = next(line for line in text.splitlines() if line.startswith("in force"))
    run(callgate, "unlock", "--all", "--config", configs[0])
    time.sleep(1)
    return {"in_force": float(line.split(" after ")[1].split()[0]), "gone": gone, "says": line}


def listed(callgate, config):
    begun = time.monotonic()
    answer = json.loads(run(callgate, "sessions", "--json", "--config", config))
    took = time.monotonic() - begun
    attributed = sum(session["attributed"] for session in answer["sessions"])
    return {"seconds": took, "sessions": len(answer["sessions"]), "attributed": attributed,
            "complete": answer["complete"]}


def audit(tools, folder, arguments):
    """Decisions with a file audit, not required and required, 64 at a time."""
    file = '[[audit.sinks]]\nfile = "{}.jsonl"\n'
    tables = [("without", "", None), ("file", file.format("file"), None),
              ("file, required", "[audit]\nrequired = true\n" + file.format("required"), None)]
    with variants(tools, folder, tables, depth=64, requests=20_000) as started:
        interleave(started, arguments.rounds)
    return compared(started)


def recorded(tools, folder, work, requests, tables=""):
    """An audit file of many decisions, as (keys, configuration, file)."""
    callgate, bench = tools
    keys = common.Keys(callgate, bench, folder)
    with nats_server("recording", folder) as (_, port):
        config = config_of(keys, "recording", port, '[[audit.sinks]]\nfile = "audit.jsonl"\n' + tables)
        with flooded("recording", callgate, bench, keys, config, port, work, requests) as variant:
            variant.round()
    return keys, config, folder / "audit.jsonl"


def child_cpu(*command, codes=(0,)):
    """The CPU time of a command, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in codes:
        raise SystemExit(f"{command[1]} failed with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def verify(tools, folder, arguments):
    """`callgate audit verify`, and SHA-256 over the same bytes by OpenSSL."""
    _, _, file = recorded(tools, folder, "password", 100_000)
    rounds = []
    for _ in range(arguments.rounds):
        ours = child_cpu(tools[0], "audit", "verify", file)
        begun = time.process_time()
        with open(file, "rb") as opened:
            hashlib.file_digest(opened, "sha256")
        rounds.append({"verify": ours, "sha256": time.process_time() - begun})
    ratio = statistics.median(each["sha256"] / each["verify"] for each in rounds)
    return {"bytes": file.stat().st_size, "speed_ratio": ratio, "rounds": rounds}


def floor(tools, login):
    """A decision of this kind, by callgate-bench: microseconds of its parts."""
    report = json.loads(run(tools[1], "floor", "--json", "--rounds", "6"))
    return next(row for row in report["decisions"] if row["login"] == login)


CASE = """
[[tests]]
name = "service {n}"
identity = {{ authenticator = "oidc", user = "service{n}", groups = ["services"] }}
expect = {{ account = "APP", roles = ["service"] }}
may = ["pub:orders.{n}", "pub:orders.eu.{n}", "sub:orders.{n}", "sub:orders.new", "sub:_INBOX.{n}"]
may_not = ["pub:billing.{n}", "pub:payments.{n}", "sub:billing.{n}", "sub:payments.{n}", "pub:metrics"]
"""


def tests(tools, folder, arguments):
    """What a case of `callgate test` with ten subjects costs, next to the policy's part of a decision."""
    keys = common.Keys(*tools, folder)
    config = config_of(keys, "tests", 4222)
    few, many = 100, 20_100
    for count in (few, many):
        (folder / f"{count}.toml").write_text("".join(CASE.format(n=number) for number in range(count)))
    junit = folder / "junit.xml"
    cases, with_reading = [], []
    for _ in range(arguments.rounds):
        small, large = (child_cpu(tools[0], "test", folder / f"{count}.toml", "--config", config, "--junit", junit)
                        for count in (few, many))
        with_reading.append((large - small) * 1e6 / (many - few))
        times = re.findall(r'<testcase [^>]* time="([0-9.]+)"', junit.read_text())
        # A case that was interrupted says nothing.
        cases.append(statistics.median(float(text) for text in times) * 1e6)
    return {"case": statistics.median(cases), "with_reading": statistics.median(with_reading),
            "resolve": floor(tools, "RS256 token, seen")["resolve"]}


def replay(tools, folder, arguments):
    """What `callgate replay` costs for a record, next to the stage that decides."""
    reports = {}
    for work, login in (("password", "user by clear-text password"), ("token, new", "RS256 token, first seen")):
        place = folder / work.replace(", ", "-")
        place.mkdir()
        _, config, file = recorded(tools, place, work, 50_000)
        lines = file.read_text().splitlines(keepends=True)
        few = place / "few.jsonl"
        few.write_text("".join(lines[:1000]))
        rounds = []
        for _ in range(arguments.rounds):
            small, large = (child_cpu(tools[0], "replay", path, "--config", config) for path in (few, file))
            rounds.append((large - small) * 1e6 / (len(lines) - 1000))
        parts = floor(tools, login)
        reports[work] = {"record": statistics.median(rounds), "decide": parts["authenticate"] + parts["resolve"]}
    return reports


def shadow(tools, folder, arguments):
    """Decisions with a candidate configuration beside the live one."""
    (folder / "candidate").mkdir()
    candidate = config_of(common.Keys(*tools, folder / "candidate"), "candidate", 4222)
    with variants(tools, folder, [("without", "", None), ("shadow", f'[shadow]\nconfig = "{candidate}"\n', None)]) as started:
        interleave(started, arguments.rounds)
        report = compared(started)
        # Latency at a load that leaves both cores idle time.
        for variant in started:
            variant.rounds.clear()
            variant.load = paced(variant.load)
        interleave(started, arguments.rounds)
        report["paced"] = compared(started)["shadow"]
    return report


def paced(load):
    return lambda: load(more=["--rate", "2000"], requests=6000)


WHAT = {"state": state, "fleet": fleet, "audit": audit, "verify": verify, "tests": tests, "replay": replay,
        "shadow": shadow}


def main():
    common.measurements(__doc__, WHAT, RESULTS)


if __name__ == "__main__":
    main()
