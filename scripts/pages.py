"""What the scripts share that write pages from a recorded result."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


class Faulty(Exception):
    """The result is not that of a whole run."""


def main(arguments, name, files):
    """Writes the files (their texts by path) that `files` makes of docs/NAME.json; `--check` only looks."""
    result = DOCS / f"{name}.json"
    try:
        texts = files(json.loads(result.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, Faulty) as fault:
        print(f"{name}: {result.relative_to(ROOT)}: {fault!r}", file=sys.stderr)
        return 1
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if arguments != ["--check"]:
        for path in stale:
            path.write_text(texts[path], encoding="utf-8")
        return 0
    for path in stale:
        print(f"{name}: {path.relative_to(ROOT)} is not what the result makes: run scripts/{name}.py", file=sys.stderr)
    if not stale:
        print(f"{name}: {', '.join(str(path.relative_to(ROOT)) for path in texts)}: what the last result makes")
    return 1 if stale else 0
