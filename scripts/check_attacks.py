#!/usr/bin/env python3
"""Keeps the ledger of attacks true. Exit code 1 and a line per fault.

In docs/known-attacks.md and docs/threat-model.md
- every attack has at least one test, except those that are listed as not built;
- every test that is named is a test in the file that its name stands for, and every such file is used;
- every attack stands there once, and the numbers of each letter have no gap.
"""

import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEDGER = "docs/known-attacks.md"
PAGES = [LEDGER, "docs/threat-model.md"]
NOT_BUILT = "Not built yet"
FILES = "Where the tests are"
ROW = re.compile(r"^\| *([A-Z]\d+) *\|(.*)\|\s*$")
FILE_ROW = re.compile(r"^\| *([a-z-]+) *\| *`([^`]+\.rs)` *\|\s*$")
TEST = re.compile(r"`([\w-]+)::(\w+)`")
ATTRIBUTE = re.compile(r"#\[(?:\w+::)*test\b[^\]]*\]")
FUNCTION = re.compile(r"\bfn\s+(\w+)\s*\(")


def main():
    sections = split((ROOT / LEDGER).read_text())
    files = dict(found for line in sections.get(FILES, []) if (found := row(FILE_ROW, line)))
    named = {page: TEST.findall((ROOT / page).read_text()) for page in PAGES}
    attacks = [(heading, *found) for heading, lines in sections.items() for line in lines if (found := row(ROW, line))]
    faults = [
        *without_tests(attacks),
        *gaps([attack for _, attack, _ in attacks]),
        *(fault for page, tests in named.items() for fault in missing(page, tests, files)),
        *unused(files, [test for tests in named.values() for test in tests]),
    ]
    for fault in faults:
        print(f"check_attacks: {fault}", file=sys.stderr)
    tests = {test for tests in named.values() for test in tests}
    print(f"check_attacks: {len(attacks)} attacks, {len(tests)} tests, {len(faults)} faults")
    return 1 if faults else 0


def row(pattern, line):
    found = pattern.match(line)
    return found.groups() if found else None


def split(text):
    """The lines below each heading."""
    sections, heading = {}, ""
    for line in text.splitlines():
        if line.startswith("## "):
            heading = line[3:].strip()
        sections.setdefault(heading, []).append(line)
    return sections


def without_tests(attacks):
    for heading, attack, rest in attacks:
        tests = TEST.findall(rest)
        if heading == NOT_BUILT and tests:
            yield f"{attack} has a test and is listed as not built"
        if heading != NOT_BUILT and not tests:
            yield f"{attack} has no test"


def gaps(ids):
    if not ids:
        yield f"{LEDGER} has no attacks"
    yield from (f"{one} stands there {times} times" for one, times in Counter(ids).items() if times > 1)
    for letter in sorted({one[0] for one in ids}):
        numbers = {int(one[1:]) for one in ids if one[0] == letter}
        yield from (f"{letter}{n} is left out" for n in range(1, max(numbers) + 1) if n not in numbers)


def missing(page, tests, files):
    for name, test in sorted(set(tests)):
        path = files.get(name)
        if path is None:
            yield f"{page}: `{name}::{test}`: `{name}` is not in the list of files"
        elif not (ROOT / path).is_file():
            yield f"{page}: `{name}::{test}`: there is no {path}"
        elif test not in tests_of((ROOT / path).read_text()):
            yield f"{page}: there is no test `{test}` in {path}"


def unused(files, tests):
    used = {name for name, _ in tests}
    return [f"the file `{name}` is listed and never named" for name in files if name not in used]


def tests_of(source):
    """Functions that follow a test attribute, with other attributes and words in between."""
    found = set()
    for attribute in ATTRIBUTE.finditer(source):
        function = FUNCTION.search(source, attribute.end())
        if function and re.fullmatch(r"(\s|#\[[^\]]*\]|//[^\n]*\n|\bpub\b|\basync\b)*", source[attribute.end():function.start()]):
            found.add(function.group(1))
    return found


if __name__ == "__main__":
    sys.exit(main())
