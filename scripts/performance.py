#!/usr/bin/env python3
"""Writes docs/performance.md and its plot from docs/performance.json, the last recorded measurements.

    performance.py            writes the page, the plot, and the table of the README
    performance.py --check    says whether they are what the measurements make
"""

import re
import sys

import pages

PAGE = pages.DOCS / "performance.md"
PLOT = pages.DOCS / "performance.svg"
README = pages.ROOT / "README.md"
PEERS = {"callgate": "Callgate", "go": "callout.go (Go)", "python": "nats-callout (Python)",
         "javascript": "official libraries (JavaScript)"}
WORKS = {"password": "user and password", "token, seen": "RS256 token, again", "token, new": "RS256 token, new"}
LAYOUTS = {"shared": "same cores", "apart": "apart", "undisturbed": "apart, in real time"}
MARKS = ("<!-- performance: written by scripts/performance.py -->", "<!-- performance: end -->")

PAGE_TEXT = """\
# Performance

<!-- Written by scripts/performance.py from docs/performance.json. Do not edit. -->

How fast Callgate is, beside other callouts and beside what it cannot do without. Numbers are from one shared
machine ({cpu}, {cores} cores, {server}, {date}) on which clients, nats-server and callout ran together:
compare them with each other, not with yours. Repeat them:

```sh
python3 bench/compare.py --record    # needs Go, Node.js and Python for the other callouts
python3 bench/limits.py --record     # Callgate alone
python3 scripts/performance.py       # this page
```

For a deployment of your own: [callgate-bench](#for-your-own-deployment).

## Beside other callouts

Each does the same work: one user by password in clear, one RS256 token. The others are written on their
libraries in a few lines (`bench/peers/`); the Python library knows no xkey, so PyNaCl's box stands beside it.
They ran in turn, interleaved; the best round of each counts. CPU is the time of the whole process for one answer, in
microseconds: sockets, NATS client and runtime included. *ratio* is Callgate's CPU divided by theirs.

![CPU for one answer](performance.svg)

### Made-up servers ask (`callgate-bench flood`, 32 at a time), with an xkey

{floods_xkey}

### The same in clear

{floods_clear}

### Real clients connect to a real server (`callgate-bench storm`, 8 at a time)

*server* is what nats-server itself spent on one admission.

{storms}

With an xkey nats-server spends {server_ratio:.1f} times as much on an admission as Callgate does: one core of Callgate keeps
{server_cores} cores of nats-server busy.

## Beside the floor

The floor is the cryptography that no callout can leave out: the request's box opened with a known server key and its
Ed25519 signature verified, the credential's own signature where there is one, two signatures, and the answer
sealed. CPU time in one process, without sockets:

{decisions}

*open* decrypts, verifies and parses the request; *authenticate* is what the authenticator takes, *resolve* the policy;
*answer* mints the user JWT, signs it and the answer, and seals. Less the bare operations, which stand here each by
itself, parsing takes {parsing:.1f} µs and minting {minting:.1f} µs (user by token).

| bare operation | µs |
|---|--:|
{operations}

## In a larger world

A decision, in microseconds, and how it grows:

{growth}

Bindings whose condition begins with a plain comparison (`"staff" in groups`, `user == "…"`, `claims.x == "…"`)
are found through an index; others are evaluated one by one, about {each_condition:.1f} µs each.

## Cores

{cores_text}

## Latency at half of the maximum rate

Requests are sent one by one at a given rate, whatever is answered (`callgate-bench flood --rate`): a little above half
of what the same set-up answers at most (64 at a time). The median round of {latency_rounds}. *Same cores*: made-up servers, nats-server and
Callgate share all cores, which one request at a time keeps much busier than 64. *Apart*: Callgate has a core of its own.
*In real time*: all three run under `SCHED_FIFO`, so that nothing else of the machine takes their core away.

The last tells Callgate's part of the 99th percentile from the machine's (where this was found, a process of priority
-10 ran for 9 ms each second). Who only looks at the clock, on all cores, and sleeps for a moment every millisecond,
stands still for {stood_still}.

{latencies}

## Storms, memory, start

{limits}

## What keeps it fast, and what it must not weaken

| what | kept | shown by |
|---|---|---|
| a server's shared curve key is remembered | it is stored only after the request's signature was verified and the header's key was the signed one; bounded in number | `open::` tests of the library |
| a server's verifying key is remembered after its first good signature | every request's signature is verified all the same | `open::` tests |
| a client's nkey is remembered after its first good signature | every nonce's signature is verified all the same; bounded, and apart from the servers' keys | `credential::an_nkey_counts_only_with_its_signature_of_a_real_nonce` |
| the point R of an Ed25519 signature is compared, not decompressed | what `verify_strict` refuses is refused: points of small order, other spellings | `verifying::` tests, which forge such signatures |
| texts of a request are borrowed; what was decrypted is wiped by one `memset` | all that was allocated is wiped | `secret::what_is_wiped_is_wiped_to_the_end_of_its_memory` |
| an answer's JSON is written without a serializer | it is the JSON that one would write | `response::an_answer_is_the_json_that_a_serializer_would_write` |
| which key signed a bearer token is remembered by the token's keyed digest | all that it says is read anew and judged on every hit; the key must still be in the set; bounded by number | `remembered::` and `oidc::` tests |
| requests that arrived together are decided in turn and answered together | one that waits, or may hold up its thread, has a task of its own | `batch::` tests of the library |
| bindings are found through an index | the outcome is that of evaluating all | `properties::bindings_that_are_passed_over_would_not_have_matched` |
| Ed25519: `ed25519-dalek` verifies, `aws-lc-rs` signs; RSA and ECDSA: `aws-lc-rs` | run-time CPU detection, no build for one machine | Wycheproof's vectors |

Tried, and left out: other allocators (mimalloc, jemalloc: no difference in CPU, more memory), one worker
thread instead of one per core (no difference in CPU).

## For your own deployment

`callgate-bench` (`cargo build --release -p callgate-bench`) works with any callout:

```sh
callgate-bench tokens --count 1000 --out-dir load
callgate-bench flood --server 127.0.0.1:4222 --issuer A… --xkey X… --tokens load/tokens --depth 32 --responder-pid 4711
callgate-bench storm --server 127.0.0.1:4222 --clients 5000 --user alice --password-file alice.txt
callgate-bench floor
callgate-bench growth
```

`flood` plays servers on a plain nats-server (`--rate` for an open loop, `--depth` for a closed one) and checks every
answer's signatures and contents; `storm` connects real clients. `--json` prints for programs.
"""


def files(results):
    return {PAGE: page(results), PLOT: plot(results["peers"]), README: with_table(results)}


def page(results):
    peers, floor, growth = results["peers"], results["floor"], results["growth"]
    ours = peers["callgate"]["xkey"]["storm"]
    ratio = ours["server_cpu"] / ours["responder_cpu"]
    curves = {curve["what"]: curve["points"] for curve in growth["curves"]}
    evaluated = curves["roles and bindings that must be evaluated"]
    token = next(row for row in floor["decisions"] if row["login"] == "user by token")
    bare = floor["operations"]
    return PAGE_TEXT.format(
        **results["machine"],
        floods_xkey=floods(peers, "xkey"),
        floods_clear=floods(peers, "clear"),
        storms=storms(peers),
        server_ratio=ratio,
        server_cores=int(ratio),
        decisions=decisions(floor["decisions"]),
        parsing=token["open_and_verify"] - bare["open"] - bare["verify"],
        minting=token["mint_and_seal"] - 2 * bare["sign"] - bare["seal"],
        operations="\n".join(f"| {name} | {micros:.1f} |" for name, micros in sorted(floor["operations"].items())),
        growth=grown([curve for curve in growth["curves"] if curve["unit"] == "µs"]),
        each_condition=(evaluated[-1][1] - evaluated[0][1]) / (evaluated[-1][0] - evaluated[0][0]),
        cores_text=cores(dict(map(tuple, curves["threads"])), growth["one_core"]),
        latency_rounds=len(results["latency"]["shared"]["rounds"]),
        stood_still=stood_still(results["latency"]),
        latencies=latencies(results["latency"]),
        limits=limits(results),
    )


def table(head, rows):
    align = "|".join("---" if column == 0 else "--:" for column in range(len(head)))
    lines = ["| " + " | ".join(head) + " |", f"|{align}|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def ratio_of(peers, kind, work, name):
    return peers["callgate"][kind][work]["responder_cpu"] / peers[name][kind][work]["responder_cpu"]


def floods(peers, kind):
    rows = []
    for work, words in WORKS.items():
        for name, shown in PEERS.items():
            if name not in peers:
                continue
            row = peers[name][kind][work]
            rows.append([words if name == "callgate" else "", shown, f"{row['responder_cpu']:.0f}",
                         f"{ratio_of(peers, kind, work, name):.3f}", f"{row['per_second']:,.0f}",
                         f"{row['p50'] / 1000:.1f}", f"{row['p99'] / 1000:.1f}", f"{row['responder_peak_mib']:.0f}"])
    return table(["client", "callout", "CPU µs", "ratio", "answers/s", "p50 ms", "p99 ms", "MiB"], rows)


def storms(peers):
    rows = []
    for kind, words in (("xkey", "with an xkey"), ("clear", "in clear")):
        for name, shown in PEERS.items():
            if name not in peers:
                continue
            row = peers[name][kind]["storm"]
            rows.append([words if name == "callgate" else "", shown, f"{row['responder_cpu']:.0f}",
                         f"{ratio_of(peers, kind, 'storm', name):.3f}", f"{row['server_cpu']:.0f}",
                         f"{row['per_second']:,.0f}", f"{row['p99'] / 1000:.1f}"])
    return table(["", "callout", "CPU µs", "ratio", "server µs", "admitted/s", "p99 ms"], rows)


def decisions(rows):
    return table(["login", "open", "authenticate", "resolve", "answer", "whole µs", "floor µs", "ratio"],
                 [[row["login"], *(f"{row[part]:.1f}" for part in (
                     "open_and_verify", "authenticate", "resolve", "mint_and_seal", "whole", "floor")),
                   f"{row['ratio']:.2f}"] for row in rows])


def grown(curves):
    rows = []
    for curve in curves:
        first = curve["points"][0][1]
        points = ", ".join(f"{size:,}: {value:.0f}" for size, value in curve["points"])
        rows.append([curve["what"], points, f"{curve['points'][-1][1] / first:.2f} ×"])
    return table(["what grows", "size: µs", "last to first"], rows)


def cores(threads, one_core):
    most = max(threads)
    return (f"{most} threads on {most} cores decide {threads[most]:,.0f} times a second, one thread {threads[1]:,.0f} "
            f"({one_core:,.0f} when pinned to one core): {threads[most] / threads[1]:.2f} × with {most} cores.")


def latency(where, one):
    """A row: the median of the rounds, and the p99 of all."""
    rounds, half = one["rounds"], one["most"] / 2
    middle = rounds[len(rounds) // 2]
    rates = [each["per_second"] for each in rounds]
    if min(rates) < half * 0.99:
        raise SystemExit(f"{where}: {min(rates):.0f} answers/s are not half of {one['most']:.0f}: measure again")
    return [where, f"{one['most']:,.0f}", f"{min(rates):,.0f} to {max(rates):,.0f}", f"{middle['p50']:.0f}",
            f"{middle['p90']:.0f}", f"{middle['p99'] / 1000:.1f}", f"{middle['p999'] / 1000:.1f}",
            f"{rounds[0]['p99'] / 1000:.1f} to {rounds[-1]['p99'] / 1000:.1f}",
            f"{sum(each['p99'] < 2000 for each in rounds)} of {len(rounds)}"]


def latencies(results):
    rows = [latency(where, results[layout]) for layout, where in LAYOUTS.items() if layout in results]
    return table(["", "at most/s", "at half/s", "p50 µs", "p90 µs", "p99 ms", "p99.9 ms", "p99 of all rounds", "below 2 ms"], rows)


def stood_still(results):
    """What no latency on this machine can be better than."""
    def told(stalls):
        return f"{stalls['part']:.2%} of the time, {stalls['longest'] * 1000:.1f} ms at most"
    text = told(results["stalls"])
    if undisturbed := results.get("stalls_undisturbed"):
        text += f"; in real time, when only the host of a virtual machine can hold it up, for\n{told(undisturbed)}"
    return text


def limits(results):
    rows = []
    if "storm" in results:
        at_once, paced = results["storm"]["at_once"], results["storm"]["paced"]
        rows.append([f"{paced[0]['requests']:,} clients, 1,000 at a time, everything on the same cores, the server's default patience",
                     f"admitted {min(one['admitted'] for one in paced):,} in each of {len(paced)} storms, refused "
                     f"{max(one['refused'] for one in paced)}, unanswered {max(one['unanswered'] for one in paced)}; "
                     f"the last after {max(one['seconds'] for one in paced):.1f} s at most"])
        rows.append(["the same, all at once: more than nats-server can work off within its own 2 s on these cores",
                     f"Callgate admitted {min(one['admitted_by_callgate'] for one in at_once):,}; nats-server let "
                     f"{min(one['admitted'] for one in at_once):,} to {max(one['admitted'] for one in at_once):,} in before it gave up "
                     "the others, which try again"])
    if "memory" in results:
        memory = results["memory"]
        rows.append([f"memory after {memory['requests']:,} decisions for 100 servers and 100,000 tokens",
                     f"{memory['responder_mib']:.1f} MiB resident, {memory['responder_peak_mib']:.1f} MiB at most"])
    if "soak" in results:
        soak = results["soak"]
        third = len(soak) // 3
        rows.append([f"memory under steady load for {soak[-1][0] // 60} minutes",
                     f"{soak[third][1]:.1f} MiB after a third of the time, {soak[-1][1]:.1f} MiB at the end"])
    if "start" in results:
        times = results["start"]["milliseconds"]
        rows.append(["from start to ready, with a local server", f"{times[len(times) // 2]:.0f} ms (median of {len(times)})"])
    return table(["what", "measured"], rows)


def plot(peers):
    """Bars of CPU for one answer, on a logarithmic scale."""
    import math
    bars = [(work, name, peers[name]["xkey"][work]["responder_cpu"])
            for work in WORKS for name in PEERS if name in peers]
    low, high = 10, 10 ** math.ceil(math.log10(max(value for *_, value in bars)))
    left, width, height, gap = 210, 460, 16, 22
    scale = lambda value: (math.log10(value) - math.log10(low)) / (math.log10(high) - math.log10(low)) * width
    colours = {"callgate": "#1a7f5a", "go": "#7a8ca5", "python": "#a5957a", "javascript": "#a57a8c"}
    parts, y = [], 34
    for work, words in WORKS.items():
        parts.append(f'<text x="10" y="{y + 12}" font-weight="bold">{words}</text>')
        y += gap
        for _, name, value in [bar for bar in bars if bar[0] == work]:
            parts.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{PEERS[name]}</text>'
                         f'<rect x="{left}" y="{y}" width="{scale(value):.1f}" height="{height}" fill="{colours[name]}"/>'
                         f'<text x="{left + scale(value) + 6:.1f}" y="{y + 12}">{value:,.0f}</text>')
            y += gap
        y += 8
    ticks, tick = [], low
    while tick <= high:
        x = left + scale(tick)
        ticks.append(f'<line x1="{x:.1f}" y1="28" x2="{x:.1f}" y2="{y}" stroke="#ddd"/>'
                     f'<text x="{x:.1f}" y="{y + 14}" text-anchor="middle" fill="#666">{tick:,}</text>')
        tick *= 10
    title = '<text x="10" y="18">CPU of the callout for one answer, in microseconds, with an xkey (logarithmic)</text>'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{y + 24}" font-family="sans-serif" font-size="12">'
            f'<rect width="100%" height="100%" fill="white"/>{"".join(ticks)}{title}{"".join(parts)}</svg>\n')


def with_table(results):
    """The README with the one table that matters."""
    peers = results["peers"]
    rows = []
    for name, shown in PEERS.items():
        if name in peers:
            mine = peers[name]["xkey"]
            rows.append([shown, *(f"{mine[work]['responder_cpu']:,.0f}" for work in (*WORKS, "storm"))])
    text = table(["callout", *WORKS.values(), "a real client's connect"], rows)
    readme = README.read_text(encoding="utf-8")
    if any(mark not in readme for mark in MARKS):
        raise KeyError(f"README.md lacks {MARKS}")
    return re.sub(f"{re.escape(MARKS[0])}.*?{re.escape(MARKS[1])}", f"{MARKS[0]}\n{text}\n{MARKS[1]}", readme, flags=re.S)


if __name__ == "__main__":
    sys.exit(pages.main(sys.argv[1:], "performance", files))
