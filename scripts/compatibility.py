#!/usr/bin/env python3
"""Writes docs/compatibility.md from docs/compatibility.json, the result of the matrix's last run.

    compatibility.py            writes the page
    compatibility.py --check    says whether the page is what the result makes, and the result whole
"""

import sys

import pages
from pages import Faulty

LINES = ["2.10", "2.11", "2.12", "2.14", "2.15"]

INTRODUCTION = """\
# Compatibility

<!-- Written by scripts/compatibility.py from the last run of `make test-matrix`. Do not edit. -->

Every row was run against real servers, {servers}, with clients that are not ours. *yes* means that
every check of the cell held; *—n* that this server line cannot have it, for the reason given below
the table (where the reason can be shown, it was); *not run* that something was missing on the machine;
**failed** that the cell did not hold in that run.
"""

CONNECTIONS = """\
## Kinds of connections

Each cell is one list of logins by one client in one environment: who is let in, into which account and
with which rights; who is refused, and for which reason.
"""

SCENARIOS = """\
## Scenarios

What is shown once for each server line. The rows that begin with *nats-server ignores* are why Callgate
enforces these itself: the day a server line changes, its cell fails.
"""


def files(result):
    return {pages.DOCS / "compatibility.md": written(result)}


def written(result):
    cells = result["connections"] + result["scenarios"]
    check(cells)
    servers = sorted({cell["server"] for cell in cells}, key=version)
    parts = [INTRODUCTION.format(servers=", ".join(servers))]
    parts.append(CONNECTIONS)
    for environment in ordered(cell["environment"] for cell in result["connections"]):
        own = [cell for cell in result["connections"] if cell["environment"] == environment]
        parts.append(f"### {environment}\n\n{table('client', own, servers, 'row')}")
    parts.append(checks("What is checked, for most of them", result["connections"]))
    parts.append(SCENARIOS)
    parts.append(table("scenario, environment", result["scenarios"], servers, "row", "environment"))
    return "\n".join(parts)


def check(cells):
    """A page about half of the matrix would be read as one about the whole."""
    servers = {cell["server"] for cell in cells}
    missing = [line for line in LINES if not any(s.startswith(line + ".") for s in servers)]
    if missing:
        raise Faulty(f"no server of {', '.join(missing)}")
    names = {(cell["environment"], cell["row"]) for cell in cells}
    there = {(cell["environment"], cell["row"], cell["server"]) for cell in cells}
    for environment, row in sorted(names):
        for server in sorted(servers):
            if (environment, row, server) not in there:
                raise Faulty(f"no cell for {row}, {environment}, {server}")
    failed = [cell for cell in cells if cell["outcome"] == "failed"]
    for cell in failed:
        # Not hidden: the page says so, too.
        print(f"compatibility: FAILED in the last run: {cell['row']}, {cell['environment']}, {cell['server']}")


def table(title, cells, servers, *keys):
    reasons = []
    rows = {}
    for cell in cells:
        name = ", ".join(cell[key] for key in keys)
        rows.setdefault(name, {})[cell["server"]] = shown(cell, reasons)
    lines = [f"| {title} | {' | '.join(servers)} |", "|---" * (len(servers) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(row[s] for s in servers)} |" for name, row in rows.items()]
    notes = [f"{number}. {reason}" for number, reason in enumerate(reasons, start=1)]
    return "\n".join(lines) + "\n" + ("\n" + "\n".join(notes) + "\n" if notes else "")


def shown(cell, reasons):
    match cell["outcome"]:
        case "passed":
            return "yes"
        case "absent":
            if cell["reason"] not in reasons:
                reasons.append(cell["reason"])
            return f"—{reasons.index(cell['reason']) + 1}"
        case "not run":
            return "not run"
        case "failed":
            return "**failed**"
        case other:
            raise Faulty(f"unknown outcome `{other}`")


def checks(title, cells):
    said = ordered(check for cell in cells for check in cell.get("checks", []))
    return f"### {title}\n\n" + "\n".join(f"- {check}" for check in said) + "\n"


def ordered(values):
    return list(dict.fromkeys(values))


def version(text):
    return tuple(map(int, text.split(".")))


if __name__ == "__main__":
    sys.exit(pages.main(sys.argv[1:], "compatibility", files))
