"""Large configurations, measured from outside the process: bindings and roles, OpenID issuers, users and servers."""

import contextlib
import itertools
import json
import subprocess
import time

import common
import directories
from common import flood, nats_server

BINDINGS = [(10, 2), (1_000, 200), (10_000, 2_000)]
ISSUERS, KEYS_EACH = 200, 5
USERS = [1, 1_000, 1_000_000]
SERVERS = [1, 10, 100, 10_000]


def measure(tools, keys, arguments):
    """Decisions with few and many bindings and issuers, and what loading them costs."""
    worlds = {f"{bindings} bindings": bindings_config(bindings, roles) for bindings, roles in BINDINGS}
    worlds["1 issuer"] = issuers_config(tools, keys, 1)
    worlds[f"{ISSUERS} issuers"] = issuers_config(tools, keys, ISSUERS)
    with contextlib.ExitStack() as running:
        started = {name: start(running, tools, keys, number, text)
                   for number, (name, text) in enumerate(worlds.items())}
        costs = {name: [] for name in worlds}
        for _ in range(arguments.rounds + 1):
            for name, world in started.items():
                result = flood(tools[1], keys, world["port"], "token, seen", arguments.requests, pids=(world["pid"], None))
                if result["admitted"] != result["requests"]:
                    raise SystemExit(f"{name}: not every client was admitted: {result}")
                costs[name].append(result["responder_cpu"])
        # The first round fills caches.
        return {name: {"decision": sorted(costs[name][1:]), **{key: started[name][key] for key in
                       ("start_cpu", "resident_mib")}} for name in worlds}


def start(running, tools, keys, number, text):
    """Starts a server and Callgate with this policy. Says what starting cost."""
    folder = keys.folder / f"world-{number}"
    folder.mkdir()
    _server, port = running.enter_context(nats_server(folder))
    admin = common.free_port()
    path = keys.folder / f"world-{number}.toml"
    path.write_text(head(port, admin) + text)
    process = subprocess.Popen([tools[0], "serve", "--config", path], stderr=subprocess.DEVNULL)
    running.callback(lambda: (process.terminate(), process.wait()))
    common.wait_until_ready(admin, process)
    time.sleep(1)
    return {"port": port, "pid": process.pid, "start_cpu": directories.cpu(process.pid),
            "resident_mib": common.memory(process.pid)["resident_mib"]}


def head(port, admin):
    return common.service_tables(f"nats://127.0.0.1:{port}", admin=f"127.0.0.1:{admin}", level="error")


def issuer(name, url, file):
    return f"""
[[authenticators]]
name = "{name}"
[authenticators.oidc]
issuer = "{url}"
audience = ["nats"]
jwks_file = "{file}"
"""


def role(name):
    return f'[roles.{name}]\npublish = ["{name}.>"]\nsubscribe = ["{name}.>"]\ninbox = "private"\n'


def bindings_config(bindings, roles):
    """Bindings that compare a claim or a group in the usual ways. The first is for the client."""
    conditions = ['claims.sub == "service-{0}"', 'has(claims.team) && claims.team == "team-{0}"', '"group-{0}" in groups']
    text = [issuer("oidc", "https://issuer.test", "keys.json")]
    text += [role(f"role-{number}") for number in range(roles)]
    for number in range(bindings):
        when = conditions[number % 3].format(number)
        text.append(f"[[bindings]]\nauthenticator = \"oidc\"\nwhen = '{when}'\naccount = \"APP\"\n"
                    f"roles = [\"role-{number % roles}\"]\n")
    return "".join(text)


def issuers_config(tools, keys, count):
    """The issuer of the tokens is the last one."""
    text = []
    for number in range(count - 1):
        sets = []
        for _ in range(KEYS_EACH):
            folder = keys.folder / "other-keys"
            common.run(tools[1], "tokens", "--count", "0", "--algorithm", "ES256", "--out-dir", folder)
            sets += json.loads((folder / "keys.json").read_text())["keys"]
        for kid, key in enumerate(sets):
            key["kid"] = f"{number}-{kid}"
        file = f"keys-{number}.json"
        (keys.folder / file).write_text(json.dumps({"keys": sets}))
        text.append(issuer(f"oidc-{number}", f"https://issuer-{number}.test", file))
    text.append(issuer("oidc", "https://issuer.test", "keys.json"))
    text += [role("service"), '[[bindings]]\nauthenticator = "*"\naccount = "APP"\nroles = ["service"]\n']
    return "".join(text)


def growth(tools, keys, arguments):
    """CPU time of a decision with more users, and with more servers."""
    by_users, by_servers = {users: [] for users in USERS}, {servers: [] for servers in SERVERS}
    numbers = itertools.count()

    def world(running, users):
        text = f'\n[[authenticators]]\nname = "users"\n[authenticators.users]\nfile = "users-{users}.json"\n'
        started = start(running, tools, keys, next(numbers), text)
        return started["port"], started["pid"]
    for users in USERS:
        directories.write_users(keys, keys.folder / f"users-{users}.json", users)
    with contextlib.ExitStack() as running:
        worlds = {users: world(running, users) for users in USERS}
        for _ in range(arguments.rounds + 1):
            for users, (port, pid) in worlds.items():
                by_users[users].append(cost(tools, keys, port, pid, arguments.requests, 3))
    for _ in range(arguments.rounds + 1):
        for servers in SERVERS:
            # A new one each time, because the servers are new, too: their keys would fill its cache.
            with contextlib.ExitStack() as running:
                port, pid = world(running, USERS[0])
                by_servers[servers].append(cost(tools, keys, port, pid, max(arguments.requests, servers), servers))
    return {"users": [[size, sorted(costs[1:])] for size, costs in by_users.items()],
            "servers": [[size, sorted(costs[1:])] for size, costs in by_servers.items()]}


def cost(tools, keys, port, pid, requests, servers):
    """Microseconds of CPU for a decision. The keys of the simulated servers are known when the measurement starts."""
    more = ["--servers", str(servers), "--warm-up", "1"]
    result = flood(tools[1], keys, port, "password", requests, pids=(pid, None), more=more)
    if result["admitted"] != result["requests"]:
        raise SystemExit(f"{servers} servers: not every client was admitted: {result}")
    return result["responder_cpu"]
