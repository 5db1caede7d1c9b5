#!/usr/bin/env python3
"""Writes docs/reliability.md from docs/reliability.json, the result of the last run of `make test-faults`.

    reliability.py            writes the page
    reliability.py --check    says whether the page is what the result makes, and the result whole
"""

import re
import sys

import pages
from pages import Faulty

FAULTS = pages.ROOT / "crates" / "callgate-faults" / "src"

INTRODUCTION = """\
# Reliability

<!-- Written by scripts/reliability.py from the last run of `make test-faults`. Do not edit. -->

What happens when something breaks. Every fault was played with real parts: nats-server {server}, the `callgate` binary,
clients that come without a pause, and whatever the fault needs. In each of them clients that must not come in went on trying:
{tried} attempts with wrong passwords, forged, expired or foreign tokens, unknown names. **{admitted} of them came in.**

The promise, which the run asserts: nobody comes in who must not, and all is well again without anybody's action. Everything
else below is what was seen, with a debug build on one busy machine with two cores; it is reported and not asserted.

How to read it: *in* came in; *refused* were refused by an answer, which takes milliseconds; *unanswered* waited until nats-server
lost its patience (2 s by default) and were refused by it; *no server* found none. A client that tries again, as clients do,
comes in as soon as the time of the column *well again* has passed. Where that is about two seconds, all was well sooner, but the
one client that came in the moment between had to wait until the server gave up waiting for an answer. What the log and the
metrics said, beyond the decisions about wrong clients, stands below each table.
"""

FROZEN = """\
## What a frozen replica costs

NATS hands requests to every member of a queue group, also to one that does not read them. A replica that crashes, exits or is
killed leaves at once, because its connection ends. One that stands still without ending (a stopped process, a paused virtual
machine, a link that swallows everything) keeps its place until nats-server closes its connection: with its own settings
(`ping_interval: "2m"`, `ping_max: 2`) that takes minutes, in which every request that falls to it goes unanswered. Neither the replica,
which runs no instruction, nor the others, who have no right to disconnect it, can shorten that.

| what happened | `ping_interval`, `ping_max` | failed of tried | lasted | ended by |
|---|---|---|---|---|
{rows}

What to do, in this order:

1. Set `ping_interval: "5s"` in nats-server, as `callgate init` writes it (`ping_max` is 2 by default). It holds for all clients of the server, and costs a few bytes for
   each of them every five seconds.
2. Have a supervisor ask `/livez`, and kill, not ask, what does not answer: the Helm chart does, every two seconds, with three failures as the
   end and a second of grace; systemd does with `WatchdogSec=`, as in `deploy/systemd/callgate.service`. Both speak of the event loop itself.
3. In a cluster, let every replica know all servers (`nats.servers` as a list), and run more replicas than servers. A server prefers members
   of the queue group that are its own clients: where the only one of them is frozen, *all* clients of that server go unanswered.
4. Let clients try again. Each attempt falls to another member at random: with one of three frozen, one in three fails once, and
   one in nine twice.

What Callgate does by itself:

- It leaves a server that does not answer for six seconds, and tries the next.
- A watchdog outside of the event loop ends the process (exit code 70) when the loop has stood still for 2 s: blocked threads.
  Its connection ends with it, and the others take over.
- A replica that was frozen and goes on connects again and takes its share. What it finds in its buffers is decided, but
  nobody waits for those answers any more, and nats-server drops them.
"""


def files(result):
    return {pages.DOCS / "reliability.md": written(result)}


def written(result):
    check(result)
    held = [row for row in result["faults"] if row["outcome"] == "held"]
    parts = [INTRODUCTION.format(
        server=result["server"],
        tried=sum(row["wrong_tried"] for row in held),
        admitted=sum(row["wrong_admitted"] for row in held) or "None",
    )]
    for family in dict.fromkeys(row["family"] for row in result["faults"]):
        own = [row for row in result["faults"] if row["family"] == family]
        parts.append(f"## {heading(family)}\n\n{table(own)}\n{details(own)}")
    parts.append(FROZEN.format(rows="\n".join(map(measured, result["replicas"]))))
    return "\n".join(parts)


def check(result):
    """A page about half of the faults would be read as one about all."""
    source = "".join(file.read_text(encoding="utf-8") for file in sorted(FAULTS.rglob("*.rs")))
    names = set(re.findall(r'^    name: "(.*)",$', source, re.MULTILINE))
    played = {row["fault"] for row in result["faults"]}
    if names != played:
        raise Faulty(f"not the faults of the code: {', '.join(sorted(names ^ played))}")
    if not result["replicas"]:
        raise Faulty("no replicas were measured")
    for row in result["faults"]:
        if row["outcome"] != "held":
            # Not hidden: the page says so, too.
            print(f"reliability: {row['outcome'].upper()} in the last run: {row['family']}, {row['fault']}")


def heading(family):
    return family if family == "nats-server" else family[0].upper() + family[1:]


def table(rows):
    lines = ["| fault | clients that may come in, meanwhile | well again |", "|---|---|---|"]
    for row in rows:
        match row["outcome"]:
            case "held":
                lines.append(f"| {row['fault']} | {clients(row['during'])} | {recovery(row)} |")
            case "not run":
                lines.append(f"| {row['fault']} | not run: {cell(row['reason'])} | |")
            case "failed":
                lines.append(f"| {row['fault']} | **failed** | |")
            case other:
                raise Faulty(f"unknown outcome `{other}`")
    return "\n".join(lines) + "\n"


def clients(counts):
    kinds = [("admitted", "in"), ("refused", "refused"), ("unanswered", "unanswered"), ("no_server", "no server")]
    said = [f"{counts[key]} {word}" for key, word in kinds if counts[key] or key == "admitted"]
    if counts["slowest_failure_ms"]:
        said.append(f"slowest failure {seconds(counts['slowest_failure_ms'])}")
    return ", ".join(said)


def recovery(row):
    if row["recovery_ms"] is None:
        return "nobody had to wait"
    since = "after it was mended" if row["mended"] else "after it began; nobody mends it"
    return f"{seconds(row['recovery_ms'])} {since}"


def details(rows):
    return "\n".join(f"**{row['fault'][0].upper()}{row['fault'][1:]}.** {detail(row)}\n" for row in rows)


def detail(row):
    parts = [f"Played by: {row['how']}."]
    if row["outcome"] == "failed":
        parts.append(f"Failed: {cell(row['reason'])}.")
    if row["outcome"] != "held":
        return "\n".join(parts)
    items = [f"- {note[0].upper()}{note[1:]}" for note in map(cell, row["notes"])]
    items += [f"- Log: {cell(line)}" for line in row["log"]] or ["- Log: nothing beyond the decisions"]
    items += [f"- Metric: {line}" for line in row["metrics"]]
    return "\n".join(parts + [""] + items)


def measured(row):
    failed = f"{row['failed']} of {row['tried']}" if row["failed"] else "none"
    return f"| {row['case']} | {row['pings']} | {failed} | {seconds(row['lasted_ms'])} | {row['ended_by']} |"


def seconds(milliseconds):
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def cell(text):
    """One line that cannot end a cell of a table, nor be taken for a link or a tag."""
    text = " ".join(text.split()).replace("|", "\\|")
    return text.replace("[", "\\[").replace("<", "&lt;")


if __name__ == "__main__":
    sys.exit(pages.main(sys.argv[1:], "reliability", files))
