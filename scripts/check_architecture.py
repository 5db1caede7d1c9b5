#!/usr/bin/env python3
"""Holds the rules of ARCHITECTURE.md that the compiler does not. Exit code 1 and a line per violation.

Comments do not count, and neither does test code: `tests.rs`, `tests/`, and what follows `#[cfg(test)]`
in a file (tests stand last).
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MANIFESTS = sorted((ROOT / "crates").glob("*/Cargo.toml"))
LIBRARY = ROOT / "crates" / "callgate" / "src"
PURE = ["subject", "json", "jwt", "permissions", "policy", "reply"]


class Rule:
    """Files of a kind do not name certain things, because …"""

    def __init__(self, why, pattern, applies):
        self.why, self.pattern, self.applies = why, re.compile(pattern), applies


def is_below(*modules):
    """Is the path (relative to the library) one of these modules, or in their folders?"""
    return lambda path: path.parts[0].removesuffix(".rs") in modules


RULES = [
    Rule("only the responder names the NATS client (lib.rs passes it on)", r"\basync_nats\b",
         lambda path: not path.parts[0].startswith("responder") and path.name != "lib.rs"),
    Rule("subject, json, jwt, permissions, policy and reply are pure: no runtime, no log, no I/O, no clock",
         r"\btokio::|\btracing::|\bstd::(fs|env|process)\b|\bstd::net::(Tcp|Udp)|\bSystemTime::now\b|\bInstant::now\b|\bTimestamp::now\b"
         r"|\basync (fn|move)\b",
         is_below(*PURE)),
    Rule("only clock.rs reads the wall clock", r"\bSystemTime::now\b|\bTimestamp::now\b|\bZoned::now\b",
         lambda path: path.parts[0] != "clock.rs"),
    Rule("only the service reads the environment and files", r"\bstd::(env|fs)\b|\btokio::fs\b",
         lambda path: True),
]


def main():
    files = sorted(file for file in LIBRARY.rglob("*.rs") if not is_test(file))
    if not files:
        print(f"check_architecture: there is nothing in {LIBRARY}", file=sys.stderr)
        return 1
    faults = [*without_lints(), *(fault for file in files for fault in violations(file))]
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"check_architecture: {len(RULES)} rules over {len(files)} files, {len(MANIFESTS)} manifests, {len(faults)} violations")
    return 1 if faults else 0


def without_lints():
    """Unsafe code is forbidden, and panics are warned about, in the workspace's lints: every crate must take them."""
    if 'unsafe_code = "forbid"' not in (ROOT / "Cargo.toml").read_text():
        yield "Cargo.toml: the workspace's lints do not forbid unsafe code"
    for manifest in MANIFESTS:
        if not re.search(r"^\[lints\]\nworkspace = true$", manifest.read_text(), re.MULTILINE):
            yield f"{manifest.relative_to(ROOT)}: does not take the workspace's lints"


def is_test(file):
    relative = file.relative_to(LIBRARY)
    return "tests" in relative.parts or file.name == "tests.rs"


def violations(file):
    relative = file.relative_to(LIBRARY)
    rules = [rule for rule in RULES if rule.applies(relative)]
    for number, line in code_lines(file.read_text()):
        for rule in rules:
            found = rule.pattern.search(line)
            if found:
                yield f"{file.relative_to(ROOT)}:{number}: `{found.group()}`: {rule.why}"


def code_lines(text):
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("#[cfg(test)]"):
            return
        if not line.lstrip().startswith("//"):
            yield number, line


if __name__ == "__main__":
    sys.exit(main())
