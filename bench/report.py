#!/usr/bin/env python3
"""Renders docs/performance-operations.md from what bench/operations.py and bench/backends.py recorded.

    python3 bench/report.py
"""

import json
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
PEERS = {"postgres": "`sql` on PostgreSQL", "slapd": "`ldap` on OpenLDAP"}


def row(what, wanted, recorded, judge):
    """A line of the table. `judge` says what was recorded, and whether that meets the target."""
    if not recorded:
        return f"| {what} | {wanted} | not measured yet | |"
    measured, is_met = judge(recorded)
    return f"| {what} | {wanted} | {measured} | {'met' if is_met else '**missed**'} |"


def keeps(rows, name, what, percent):
    """A variant that must keep part of the decisions per second."""
    def judge(rows):
        measured = rows[name]["rate_ratio"] * 100
        return f"{measured:.0f} %", measured >= percent
    return row(what, f"≥ {percent} % of the decisions per second without", rows, judge)


def grows(what, wanted, rows, ratio):
    """A median that may grow by 5 %."""
    def judge(rows):
        more = (ratio(rows) - 1) * 100
        return f"{more:+.1f} %", more <= 5
    return row(what, wanted, rows, judge)


def within(what, limit, recorded, longest, is_met):
    """A time that no round may exceed."""
    def judge(recorded):
        seconds = longest(recorded)
        return f"{seconds:.2f} s at most", is_met(seconds)
    return row(what, limit, recorded, judge)


def times(what, wanted, recorded, ours, theirs, most):
    """A cost in microseconds, of ours against theirs."""
    def judge(recorded):
        ratio = recorded[ours] / recorded[theirs]
        return f"{ratio:.1f} × ({recorded[ours]:.1f} µs, {recorded[theirs]:.1f} µs)", ratio <= most
    return row(what, wanted, recorded, judge)


def cpu(what, wanted, rows, ours, theirs, most):
    """CPU time of an answer, of ours against theirs; the ratio is the median of all rounds."""
    def judge(rows):
        ratio = rows[ours]["cpu_ratio"]
        return f"{ratio:.2f} × ({rows[ours]['cpu']:.0f} µs, {rows[theirs]['cpu']:.0f} µs)", ratio <= most
    return row(what, wanted, rows, judge)


def of_state(rows):
    yield keeps(rows, "state and system", "`[state]` and `[system]`, no lock", 97)
    yield grows("10,000 locks in force", "≤ 5 % of the median of a decision", rows,
                lambda rows: rows["10000 locks"]["p50_ratio_to_state"])


def of_fleet(fleet):
    yield within("a lock is in force on each of three replicas", "< 1 s", fleet,
                 lambda fleet: max(one["in_force"] for one in fleet["locks"]), lambda seconds: seconds < 1)
    yield within("1,000 sessions on three servers are gone after `callgate lock`", "< 2 s", fleet,
                 lambda fleet: max(one["gone"] for one in fleet["locks"]), lambda seconds: seconds < 2)
    yield within("`callgate sessions` lists 10,000 connections", "≤ 1 s", fleet,
                 lambda fleet: max(one["seconds"] for one in fleet["lists"]), lambda seconds: seconds <= 1)


def of_audit(rows):
    yield keeps(rows, "file", "audit to a file", 95)
    yield keeps(rows, "file, required", "audit to a file, `required`, 64 concurrent", 50)


def of_tools(operations):
    yield row("`callgate audit verify`", "≥ 0.5 × the speed of SHA-256 over the same bytes", operations.get("verify"),
              lambda verify: (f"{verify['speed_ratio']:.2f} ×", verify["speed_ratio"] >= 0.5))
    yield times("a case of `callgate test`, identity and ten subjects", "≤ 3 × the policy's part of a decision",
                operations.get("tests"), "case", "resolve", 3)
    for key, name in {"password": "user by clear-text password", "token, new": "new RS256 token"}.items():
        yield times(f"`callgate replay`, a record of a {name}", "≤ 2 × the `decide` stage",
                    operations.get("replay", {}).get(key), "record", "decide", 2)


def of_shadow(rows):
    yield keeps(rows, "shadow", "`[shadow]`", 80)
    yield grows("median latency with `[shadow]`", "within 5 %", rows, lambda rows: rows["paced"]["p50_ratio"])


def of_peers(backends):
    for key, name in PEERS.items():
        yield cpu(f"CPU time of an admission, {name}", "≤ 0.5 × the same lookup in Go", backends.get("peers", {}).get(key),
                  "callgate", "go", 0.5)
    for key, name in PEERS.items():
        yield row(f"logins per second, {name}, 8 connections", "≥ 80 % of a bare loop on the client library",
                  backends.get("loops", {}).get(key),
                  lambda rates: (f"{rates['ratio'] * 100:.0f} % ({rates['ours']:,.0f}/s, {rates['bare']:,.0f}/s)",
                                 rates["ratio"] >= 0.8))


def of_services(backends):
    for name in ("http", "nats"):
        yield cpu(f"CPU time of a decision with `{name}`", "≤ 2 × one by token from a users file", backends.get("questions"),
                  name, "users", 2)
    yield row("10,000 logins at once with remembered credentials, twice", "at most one question per distinct credential",
              backends.get("reconnect"), judged_questions)
    yield row("p99 of other decisions while a backend hangs", "changes by less than 10 %", backends.get("hang"),
              lambda hang: (f"{(hang['ratio'] - 1) * 100:+.0f} %", hang["ratio"] < 1.1))


def judged_questions(reconnect):
    asked, admitted = (sum(wave[what] for wave in reconnect["waves"]) for what in ("questions", "admitted"))
    measured = f"{asked} questions for {reconnect['credentials']} credentials, {admitted:,} admitted"
    return measured, asked <= reconnect["credentials"] and admitted == 20_000


def of_kv(kv):
    yield row("`kv` with 100,000 entries, from start to ready", "< 3 s", kv,
              lambda kv: (f"{kv['kv']['seconds']:.1f} s (users file: {kv['users']['seconds']:.1f} s)", kv["kv"]["seconds"] < 3))
    yield row("memory with them", "as with a users file", kv,
              lambda kv: (f"{kv['kv']['mib']:.0f} MiB (users file: {kv['users']['mib']:.0f} MiB)", kv["memory_ratio"] <= 1.1))


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
