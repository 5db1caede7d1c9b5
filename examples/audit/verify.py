#!/usr/bin/env python3
"""Verifies audit files of Callgate without Callgate: the chain, the joins between files, and the seals.

    verify.py [--key PUBLIC]... FILE...

Pass all files of one sink, in any order. With --key, seals of other keys are errors, and each chain needs one.
Needs `cryptography` for seals. Exits with 0 if everything is intact, and with 1 otherwise.

What is verified (docs/audit.md describes the records):
  - `prev` of each line is the SHA-256 of the line above; a chain begins with `seq` 0 and 64 zeros,
  - `seq` counts up by one, within a file and from one rotated file to the next,
  - `after` of a `start` is the SHA-256 of the last line of the process before it,
  - each `seal` is a signature of the 32 bytes of its `prev`, and a chain with seals that has stopped ends with one.
"""

import argparse
import base64
import hashlib
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--key", action="append", default=[])
    arguments.add_argument("files", nargs="+")
    arguments = arguments.parse_args()
    lines = [line for file in arguments.files for line in read(file)]
    errors = [f"{line['at']}: not a record" for line in lines if line["record"] is None]
    lines = [line for line in lines if line["record"] is not None]
    errors += chains(lines) + joins(lines) + seals(lines, arguments.key)
    for error in errors:
        print(f"BROKEN  {error}")
    print(f"{len(lines)} records in {len(by_boot(lines))} chains, {len(errors)} errors")
    return 1 if errors else 0


def read(file):
    with open(file, "rb") as opened:
        above = None
        for number, text in enumerate(opened.read().split(b"\n")[:-1], start=1):
            try:
                record = json.loads(text)
            except ValueError:
                record = None
            above = {"at": f"{file} line {number}", "hash": hashlib.sha256(text).hexdigest(), "record": record,
                     "above": above}
            yield above


def by_boot(lines):
    """The lines of each process. A chain is never split between processes."""
    chains = {}
    for line in lines:
        chains.setdefault(line["record"]["boot"], []).append(line)
    return chains


def chains(lines):
    errors = []
    for chain in by_boot(lines).values():
        hashes = {line["record"]["seq"]: line["hash"] for line in chain}
        for line in chain:
            record, above = line["record"], line["above"]
            # In the middle of a file, the line above counts; at its beginning, the end of the file before it.
            is_first = above is None or (above["record"] or {}).get("boot") != record["boot"]
            expected = "0" * 64 if record["seq"] == 0 else hashes.get(record["seq"] - 1) if is_first else above["hash"]
            if record["prev"] != expected:
                errors.append(f"{line['at']}: `prev` does not match the record before it")
            elif not is_first and record["seq"] != above["record"]["seq"] + 1:
                errors.append(f"{line['at']}: `seq` does not count up")
    return errors


def joins(lines):
    known = {line["hash"] for line in lines}
    errors = []
    for line in lines:
        after, above = line["record"].get("after"), line["above"]
        if line["record"]["type"] == "start" and after is None and above is not None:
            errors.append(f"{line['at']}: `after` is missing")
        elif after is not None and (after != above["hash"] if above else after not in known):
            errors.append(f"{line['at']}: `after` does not match the end of the process before it")
    return errors


def seals(lines, keys):
    errors = []
    for boot, chain in by_boot(lines).items():
        sealed = [line for line in chain if line["record"]["type"] == "seal"]
        last = max(chain, key=lambda line: line["record"]["seq"])
        if (keys or sealed) and last["record"]["type"] == "stop":
            errors.append(f"{last['at']}: the seal after `stop` is missing")
        if keys and not sealed:
            errors.append(f"the chain of boot {boot} has no seal")
        for line in sealed:
            record = line["record"]
            if keys and record["key"] not in keys:
                errors.append(f"{line['at']}: sealed by another key")
            elif not is_signed(record):
                errors.append(f"{line['at']}: the signature is wrong")
    return errors


def is_signed(record):
    # A public nkey: a byte for its role, 32 bytes of key and two of checksum, in base32.
    key = base64.b32decode(record["key"])[1:33]
    signature = base64.urlsafe_b64decode(record["sig"] + "==")
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, bytes.fromhex(record["prev"]))
    except InvalidSignature:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
