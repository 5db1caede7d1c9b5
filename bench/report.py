#!/usr/bin/env python3
"""Renders docs/performance-operations.md from what bench/operations.py and bench/backends.py recorded.

    python3 bench/report.py
"""

import json
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
PEERS = {"postgres": "`sql` on PostgreSQL", "slapd": "`ldap` on OpenLDAP"}


def target(what, wanted, measured, is_met):
    return f"| {what} | {wanted} | {measured} | {'met' if is_met else '**missed**'} |"


def unmeasured(what, wanted):
    return f"| {what} | {wanted} | not measured yet | |"


def keeps(rows, name, what, percent):
    """A variant that must keep part of the decisions per second."""
    wanted = f"≥ {percent} % of the decisions per second without"
    if not rows:
        return unmeasured(what, wanted)
    measured = rows[name]["rate_ratio"] * 100
    return target(what, wanted, f"{measured:.0f} %", measured >= percent)


def of_state(rows):
    yield keeps(rows, "state and system", "`[state]` and `[system]`, no lock", 97)
    what, wanted = "10,000 locks in force", "≤ 5 % of the median of a decision"
    if not rows:
        yield unmeasured(what, wanted)
        return
    more = (rows["10000 locks"]["p50_ratio_to_state"] - 1) * 100
    yield target(what, wanted, f"{more:+.1f} %", more <= 5)


def of_fleet(fleet):
    wanted = {"in_force": ("a lock is in force on each of three replicas", "< 1 s", 1),
              "gone": ("1,000 sessions on three servers are gone after `callgate lock`", "< 2 s", 2)}
    listing = "`callgate sessions` lists 10,000 connections", "≤ 1 s"
    if not fleet:
        yield from (unmeasured(what, text) for what, text, _ in wanted.values())
        yield unmeasured(*listing)
        return
    for key, (what, text, limit) in wanted.items():
        longest = max(one[key] for one in fleet["locks"])
        yield target(what, text, f"{longest:.2f} s at most", longest < limit)
    longest = max(one["seconds"] for one in fleet["lists"])
    yield target(*listing, f"{longest:.2f} s at most", longest <= 1)


def of_audit(rows):
    yield keeps(rows, "file", "audit to a file", 95)
    what, wanted = "audit to a file, `required`, 64 concurrent", "≥ 50 % of the decisions per second without"
    if not rows:
        yield unmeasured(what, wanted)
        return
    percent = rows["file, required"]["rate_ratio"] * 100
    yield target(what, wanted, f"{percent:.0f} %", percent >= 50)


def of_tools(operations):
    what, wanted = "`callgate audit verify`", "≥ 0.5 × the speed of SHA-256 over the same bytes"
    if verify := operations.get("verify"):
        yield target(what, wanted, f"{verify['speed_ratio']:.2f} ×", verify["speed_ratio"] >= 0.5)
    else:
        yield unmeasured(what, wanted)
    what, wanted = "a case of `callgate test`, identity and ten subjects", "≤ 3 × the policy's part of a decision"
    if tests := operations.get("tests"):
        ratio = tests["case"] / tests["resolve"]
        yield target(what, wanted, f"{ratio:.1f} × ({tests['case']:.1f} µs, {tests['resolve']:.1f} µs)", ratio <= 3)
    else:
        yield unmeasured(what, wanted)
    names = {"password": "user by clear-text password", "token, new": "new RS256 token"}
    for key, name in names.items():
        what, wanted = f"`callgate replay`, a record of a {name}", "≤ 2 × the `decide` stage"
        cost = operations.get("replay", {}).get(key)
        if not cost:
            yield unmeasured(what, wanted)
            continue
        ratio = cost["record"] / cost["decide"]
        yield target(what, wanted, f"{ratio:.1f} × ({cost['record']:.1f} µs, {cost['decide']:.1f} µs)", ratio <= 2)


def of_shadow(rows):
    yield keeps(rows, "shadow", "`[shadow]`", 80)
    what, wanted = "median latency with `[shadow]`", "within 5 %"
    if not rows:
        yield unmeasured(what, wanted)
        return
    more = (rows["paced"]["p50_ratio"] - 1) * 100
    yield target(what, wanted, f"{more:+.1f} %", more <= 5)


def of_peers(backends):
    for key, name in PEERS.items():
        what, wanted = f"CPU time of an admission, {name}", "≤ 0.5 × the same lookup in Go"
        rows = backends.get("peers", {}).get(key)
        if not rows:
            yield unmeasured(what, wanted)
            continue
        ours, theirs, ratio = rows["callgate"]["cpu"], rows["go"]["cpu"], rows["callgate"]["cpu_ratio"]
        yield target(what, wanted, f"{ratio:.2f} × ({ours:.0f} µs, {theirs:.0f} µs)", ratio <= 0.5)
    for key, name in PEERS.items():
        what, wanted = f"logins per second, {name}, 8 connections", "≥ 80 % of a bare loop on the client library"
        rates = backends.get("loops", {}).get(key)
        if not rates:
            yield unmeasured(what, wanted)
            continue
        measured = f"{rates['ratio'] * 100:.0f} % ({rates['ours']:,.0f}/s, {rates['bare']:,.0f}/s)"
        yield target(what, wanted, measured, rates["ratio"] >= 0.8)


def of_services(backends):
    rows = backends.get("questions")
    for name in ("http", "nats"):
        what, wanted = f"CPU time of a decision with `{name}`", "≤ 2 × one by token from a users file"
        if not rows:
            yield unmeasured(what, wanted)
            continue
        ratio = rows[name]["cpu_ratio"]
        yield target(what, wanted, f"{ratio:.2f} × ({rows[name]['cpu']:.0f} µs, {rows['users']['cpu']:.0f} µs)", ratio <= 2)
    what, wanted = "10,000 logins at once with remembered credentials, twice", "at most one question per distinct credential"
    if reconnect := backends.get("reconnect"):
        asked = sum(wave["questions"] for wave in reconnect["waves"])
        admitted = sum(wave["admitted"] for wave in reconnect["waves"])
        measured = f"{asked} questions for {reconnect['credentials']} credentials, {admitted:,} admitted"
        yield target(what, wanted, measured, asked <= reconnect["credentials"] and admitted == 20_000)
    else:
        yield unmeasured(what, wanted)
    what, wanted = "p99 of other decisions while a backend hangs", "changes by less than 10 %"
    if hang := backends.get("hang"):
        more = (hang["ratio"] - 1) * 100
        yield target(what, wanted, f"{more:+.0f} %", more < 10)
    else:
        yield unmeasured(what, wanted)


def of_kv(kv):
    ready, memory = ("`kv` with 100,000 entries, from start to ready", "< 3 s"), ("memory with them", "as with a users file")
    if not kv:
        yield unmeasured(*ready)
        yield unmeasured(*memory)
        return
    ours, users = kv["kv"], kv["users"]
    yield target(*ready, f"{ours['seconds']:.1f} s (users file: {users['seconds']:.1f} s)", ours["seconds"] < 3)
    yield target(*memory, f"{ours['mib']:.0f} MiB (users file: {users['mib']:.0f} MiB)", kv["memory_ratio"] <= 1.1)


def table(*parts):
    head = "| measurement | target | measured | |\n|---|---|---|---|\n"
    return head + "\n".join(line for part in parts for line in part)


def page(operations, backends):
    machine = (operations or backends)["machine"]
    server = machine["server"].replace(": ", " ")
    return f"""# Performance of operations and backends

<!-- Rendered by bench/report.py from docs/performance-operations.json and docs/performance-backends.json. Do not edit. -->

What locks, sessions, the audit and the policy tools cost, and what a login costs whose user is in a database, in a directory or
behind a service. [Performance](performance.md) describes the cost of a decision itself.

All numbers come from one machine ({machine['cpu']}, {machine['cores']} cores, {server}, {machine['date']}) that ran the load,
nats-server, Callgate and the backends: treat differences of a few percent as noise. Variants of one configuration ran at the same
time, each with its own nats-server, and were loaded in turn by simulated servers. Decisions per second are the answers per second
under full load. A ratio is the median of the ratios of all rounds.
To repeat the measurements:

```sh
make bench-operations
make bench-backends       # needs Go, PostgreSQL and OpenLDAP
```

## Operations

{table(of_state(operations.get("state")), of_fleet(operations.get("fleet")), of_audit(operations.get("audit")), of_tools(operations),
       of_shadow(operations.get("shadow")))}

- The 10,000 locks have users, groups, networks and roles as targets; none matches.
- Three servers form a cluster with three replicas. The times count from the start of the command, and the sessions are gone when each
  of their clients has seen the end of its connection.
- A session takes at most 400 bytes: the test `session_takes_at_most_400_bytes` counts them.
- A case of `callgate test` is measured without reading its file. A record of `callgate replay` includes reading, parsing and verifying
  it; the start of the command is subtracted.

## Backends

{table(of_peers(backends), of_services(backends), of_kv(backends.get("kv")))}

- The Go peer (`bench/peers/go-backends`) is built on callout.go and does the same lookups with pgx and go-ldap, with as many
  connections. Both find a user in PostgreSQL by the SHA-256 of a token, and in OpenLDAP by a search and a bind. Callgate's cache of
  passwords is off. Logins of the directory come one at a time, because Callgate asks only once for identical ones at the same time.
- The bare loop uses the same client library and does nothing but the lookups. It is compared with the authenticator alone
  (`callgate-bench rates`), because a decision also verifies and signs.
- `http` and `nats` ask a service in Python, whose CPU time does not count. Each login has another token, so nothing is remembered.
- Beside the backend that hangs, 100 logins a second need it and 500 a second do not. The comparison is with the same backend while it
  answers.
"""


def main():
    def read(name):
        file = DOCS / name
        return json.loads(file.read_text()) if file.exists() else {}
    text = page(read("performance-operations.json"), read("performance-backends.json"))
    (DOCS / "performance-operations.md").write_text(text)


if __name__ == "__main__":
    main()
