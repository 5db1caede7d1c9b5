#!/usr/bin/env python3
"""Draws the output of `make demo` as docs/demo.svg.

    demo_picture.py            run the demo, and write the picture
    demo_picture.py -          draw the coloured output on standard input, and print the picture

What differs between runs (ports, times, durations, versions, client ids) is replaced, so that the same output gives the
same picture. A test compares the picture with a real run.
"""

import html
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "demo.svg"
# By the codes that demo.py uses.
CLASSES = {"1": "b", "2": "d", "31": "r", "32": "g"}
LINE = 19
MARGIN = 20
CHARACTER = 7.83
STYLE = """
  text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #d1d7e0; }
  .b { fill: #f0f6fc; font-weight: 600; } .d { fill: #9198a1; } .r { fill: #ff7b72; } .g { fill: #56d364; }
"""


def main(arguments):
    if arguments == ["-"]:
        sys.stdout.write(picture(sys.stdin.read()))
        return 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    demo = subprocess.run([sys.executable, ROOT / "scripts" / "demo.py"], stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "CLICOLOR_FORCE": "1"})
    if demo.returncode != 0:
        print(demo.stdout, file=sys.stderr)
        return 1
    PICTURE.write_text(picture(demo.stdout))
    print(f"wrote {PICTURE.relative_to(ROOT)}")
    return 0


def picture(output):
    lines = ["$ make demo", *interesting(steady(output).splitlines())]
    width = round(max(len(re.sub(r"\033\[\d+m", "", line)) for line in lines) * CHARACTER) + 2 * MARGIN
    height = len(lines) * LINE + 2 * MARGIN
    rows = (f'  <text x="{MARGIN}" y="{MARGIN + LINE * number + 14}">{spans(line)}</text>'
            for number, line in enumerate(lines) if line)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" xml:space="preserve">',
        "  <title>make demo: three users log in, and two logins are refused, each with Callgate's record</title>",
        f"  <style>{STYLE}  </style>",
        f'  <rect width="{width}" height="{height}" rx="8" fill="#0d1117" stroke="#3d444d"/>',
        *rows,
        "</svg>",
        "",
    ])


def steady(output):
    """The output without what differs between runs."""
    ids = iter(range(5, 100))
    output = re.sub(r"client_id=\d+", lambda _: f"client_id={next(ids)}", output)
    output = re.sub(r"\d+\.\d ms", "0.4 ms", output)
    output = re.sub(r"until=\S+Z", "until=2027-01-04T10:00:00Z", output)
    output = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:4222", output)
    return re.sub(r"(lists the servers: gate-1) \S+", r"\1 2.15.1", output)


def interesting(lines):
    """Without the build, and without the commands at the end, which name paths of this machine."""
    start = next(number for number, line in enumerate(lines) if line.startswith("nats-server listens"))
    end = next(number for number, line in enumerate(lines) if "All results were as expected" in line)
    return lines[start:end + 1]


def spans(line):
    parts = re.split(r"\033\[(\d+)m", line)
    shown = [html.escape(parts[0], quote=False)]
    for code, text in zip(parts[1::2], parts[2::2]):
        text = html.escape(text, quote=False)
        shown.append(f'<tspan class="{CLASSES[code]}">{text}</tspan>' if code in CLASSES and text else text)
    return "".join(shown)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
