#!/usr/bin/env python3
"""Draws the Grafana dashboard as docs/dashboard.svg, from the data of a real run.

    dashboard_picture.py           run Callgate, nats-server and Prometheus for some minutes, and write the picture
    dashboard_picture.py FILE      draw the data that such a run has written to FILE

The run is the test `every_panel_and_alert_is_evaluated_over_a_real_run`. It needs Prometheus (`tools.py debian
prometheus`). Grafana itself is not needed: the picture shows what its panels would show, not how Grafana draws it.
"""

import html
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "dashboard.svg"
TEST = "observability::prometheus::every_panel_and_alert_is_evaluated_over_a_real_run"
WIDTH, MARGIN, GAP = 960, 16, 12
COLUMNS = 3
STAT, PLOT, TITLE = 64, 132, 34
# Readable on white and on dark: the lines of a panel, in this order.
COLORS = ["#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#a855f7", "#14b8a6", "#ec4899", "#84cc16"]
MAX_NAMES = 4
STYLE = """
  text { font: 11px system-ui, sans-serif; fill: #1f2328; } .h { font-size: 15px; font-weight: 600; }
  .t { font-weight: 600; } .n { font-size: 22px; font-weight: 600; } .d { fill: #59636e; font-size: 10px; }
  .p { fill: #f6f8fa; stroke: #d1d9e0; } .g { stroke: #d1d9e0; } .b { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #d1d7e0; } .d { fill: #9198a1; } .p { fill: #151b23; stroke: #3d444d; } .g { stroke: #3d444d; }
    .b { fill: #0d1117; }
  }
"""


def main(arguments):
    if len(arguments) > 1:
        print(__doc__, file=sys.stderr)
        return 2
    if arguments:
        panels = json.loads(Path(arguments[0]).read_text())
    else:
        panels = data_of_a_run()
    PICTURE.write_text(picture(panels))
    print(f"wrote {PICTURE.relative_to(ROOT)}")
    return 0


def data_of_a_run():
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.json"
        command = ["cargo", "test", "-p", "callgate-server", "--features", "prometheus", "--test", "it", TEST]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "CALLGATE_DASHBOARD_DATA": str(file)})
        return json.loads(file.read_text())


def picture(panels):
    parts = []
    y = MARGIN
    sections = {}
    for panel in panels:
        sections.setdefault(panel["section"], []).append(panel)
    for section, members in sections.items():
        parts.append(f'  <text class="h" x="{MARGIN}" y="{y + 16}">{escape(section)}</text>')
        y += 26
        for kind, columns, height in [("stat", 6, STAT), ("timeseries", COLUMNS, PLOT + TITLE)]:
            of_kind = [panel for panel in members if panel["type"] == kind]
            for start in range(0, len(of_kind), columns):
                width = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) / columns
                for column, panel in enumerate(of_kind[start:start + columns]):
                    x = MARGIN + column * (width + GAP)
                    draw = stat if kind == "stat" else plot
                    parts.append(draw(panel, x, y, width, height))
                y += height + GAP
    height = y
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
        "  <title>The panels of the dashboard with the data of a test run</title>",
        f"  <style>{STYLE}  </style>",
        f'  <rect class="b" width="{WIDTH}" height="{height}" rx="8"/>',
        *parts,
        "</svg>",
        "",
    ])


def stat(panel, x, y, width, height):
    values = [value for series in panel["series"] for _, value in numbers(series)]
    shown = unit(values[-1], panel["unit"]) if values else "no data"
    return (f'  <rect class="p" x="{x:.0f}" y="{y}" width="{width:.0f}" height="{height}" rx="4"/>'
            f'<text class="d" x="{x + 8:.0f}" y="{y + 17}">{escape(panel["title"])}</text>'
            f'<text class="n" x="{x + 8:.0f}" y="{y + 48}">{escape(shown)}</text>')


def plot(panel, x, y, width, height):
    all_series = [(series["name"], numbers(series)) for series in panel["series"]]
    # What never happened says nothing.
    moving = [one for one in all_series if any(value for _, value in one[1])]
    all_series = sorted(moving or all_series[:1], key=lambda one: -sum(value for _, value in one[1]))
    points = [point for _, values in all_series for point in values]
    parts = [f'  <rect class="p" x="{x:.0f}" y="{y}" width="{width:.0f}" height="{height}" rx="4"/>'
             f'<text class="t" x="{x + 8:.0f}" y="{y + 17}">{escape(panel["title"])}</text>']
    if points:
        left, right, top, bottom = x + 50, x + width - 8, y + 28, y + height - 30
        first, last = min(time for time, _ in points), max(time for time, _ in points)
        low, high = min(0, *(value for _, value in points)), max(value for _, value in points)
        high = high if high > low else low + 1
        for value, at in [(high, top), (low, bottom)]:
            parts.append(f'<path class="g" d="M{left:.0f} {at:.0f}H{right:.0f}"/>'
                         f'<text class="d" x="{left - 4:.0f}" y="{at + 3:.0f}" text-anchor="end">{unit(value, panel["unit"])}</text>')
        for (_, values), color in zip(all_series, COLORS):
            place = [(left + (time - first) / max(last - first, 1) * (right - left),
                      bottom - (value - low) / (high - low) * (bottom - top)) for time, value in values]
            line = " ".join(f"{a:.0f},{b:.0f}" for a, b in place)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.5"/>')
    parts.append(legend(all_series, x + 8, y + height - 10, width - 16))
    return "".join(parts)


def legend(all_series, x, y, width):
    parts = []
    room = width
    for (name, _), color in list(zip(all_series, COLORS))[:MAX_NAMES]:
        name = name or "value"
        name = name if len(name) <= 24 else name[:23] + "…"
        space = 14 + 5.6 * len(name)
        if space > room:
            break
        parts.append(f'<circle cx="{x + 3:.0f}" cy="{y - 3:.0f}" r="3" fill="{color}"/>'
                     f'<text class="d" x="{x + 9:.0f}" y="{y:.0f}">{escape(name)}</text>')
        x, room = x + space, room - space
    return "".join(parts)


def numbers(series):
    pairs = [(float(time), float(value)) for time, value in series["values"]]
    return [(time, value) for time, value in pairs if math.isfinite(value)]


def unit(value, kind):
    if kind == "s":
        return f"{value * 1000:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
    if kind == "bytes":
        return f"{value / 1024:.3g} KiB" if value >= 1024 else f"{value:.0f} B"
    number = f"{value:.3g}"
    return f"{number}/s" if kind in ("reqps", "ops") else number


def escape(text):
    return html.escape(text, quote=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
