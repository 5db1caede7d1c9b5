#!/usr/bin/env python3
"""Checks on `cargo tree` that no manifest can express. Exit code 1 and a reason if one fails."""

import subprocess
import sys

# (what must be absent, in the tree of which packages and features, why)
ABSENCES = [
    (["ring", "openssl", "openssl-sys", "native-tls"], ["--workspace", "--target", "all"],
     "all cryptography comes from aws-lc-rs, all TLS from rustls"),
    (["async-nats", "rustls", "reqwest", "hyper", "mio"],
     ["--package", "callgate", "--no-default-features", "--edges", "no-dev"],
     "without features the library is free of I/O and of any NATS client"),
    (["async-nats"], ["--package", "callgate-authenticators", "--no-default-features", "--edges", "no-dev"],
     "an authenticator never talks to NATS"),
    (["async-nats", "rustls", "reqwest", "hyper", "mio"], ["--package", "callgate-config", "--edges", "no-dev"],
     "reading a configuration opens no connection"),
]


def main():
    faults = [fault for absence in ABSENCES for fault in violations(*absence)]
    for fault in faults:
        print(f"check_tree: {fault}", file=sys.stderr)
    print(f"check_tree: {len(ABSENCES)} rules, {len(faults)} violations")
    return 1 if faults else 0


def violations(names, selection, why):
    present = crates(selection)
    return [f"`{name}` is in the tree of `{' '.join(selection)}`: {why}" for name in names if name in present]


def crates(selection):
    command = ["cargo", "tree", "--locked", "--prefix", "none", "--format", "{p}", *selection]
    listed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {line.split()[0] for line in listed.splitlines() if line}


if __name__ == "__main__":
    sys.exit(main())
