"""dashboard.py PICTURE: examples/monitoring's dashboard without Grafana.

Each panel is drawn from its own definition in temporal-warden.json (place, expressions, unit, value mappings, thresholds,
legend) and what the Prometheus of the overlay answers. Grafana itself is not here, and the picture says so.
"""

import json
import re
import subprocess
import sys
import time
from html import escape
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "examples/monitoring/grafana/temporal-warden.json"
SPAN, STEP = 180, 5
WIDTH, ROW, GAP = 52, 34, 8  # pixels: a column of 24, a row, between two panels
COLOURS = ["#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0", "#508642", "#cca300"]
NAMED = {"red": "#e02f44", "orange": "#ff9830", "green": "#56a64b", "blue": "#3274d9", None: "#56a64b"}

Series = tuple[str, list[tuple[float, float]]]


def query(expression: str) -> list[dict]:
    """What Prometheus answers for the last minutes: on its own network, so by the tool in its container."""
    now = int(time.time())
    ask = ["promtool", "query", "range", "-o", "json", f"--start={now - SPAN}", f"--end={now}", f"--step={STEP}s"]
    done = subprocess.run(["docker", "exec", "app_data_prometheus", *ask, "http://127.0.0.1:9090", expression], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def series(panel: dict) -> list[Series]:
    found = []
    for target in panel["targets"]:
        for row in query(target["expr"]):
            labels = row["metric"]
            name = re.sub(r"{{(\w+)}}", lambda m: labels.get(m[1], ""), target.get("legendFormat") or "") or target["expr"]
            points = [(float(at), float(value)) for at, value in row["values"] if value != "NaN"]
            if points:
                found.append((name, points))
    return found


def number(value: float, unit: str | None) -> str:
    """A value as Grafana writes it in that unit: seconds and bytes are scaled, the rest is short."""
    scales = {"s": [(86400, " d"), (3600, " h"), (60, " min"), (1, " s"), (1e-3, " ms"), (1e-6, " µs")], "Bps": [(1e6, " MB/s"), (1e3, " kB/s"), (1, " B/s")]}
    for size, name in scales.get(unit, []):
        if abs(value) >= size or (value == 0 and size == 1):
            return f"{value / size:.3g}{name}"
    shown = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return shown + {"reqps": " req/s", "ops": " ops/s", "d": " d", "Bps": " B/s"}.get(unit, "")


def colour(value: float, defaults: dict) -> str:
    """By the thresholds, the last one that is reached."""
    steps = defaults.get("thresholds", {}).get("steps", [])
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return NAMED[reached[-1] if reached else None]


def stat(panel: dict, rows: list[Series], width: int, height: int) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    value = rows[0][1][-1][1]
    mapped = {k: v for mapping in defaults.get("mappings", []) for k, v in mapping["options"].items()}.get(f"{value:g}")
    text = mapped["text"] if mapped else number(value, defaults.get("unit"))
    back = NAMED[mapped["color"]] if mapped else colour(value, defaults)
    return f'<div class="stat" style="background:{back};height:{height}px">{escape(text)}</div>'


def bars(panel: dict, rows: list[Series], width: int, height: int) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    last = [(name, points[-1][1]) for name, points in rows]
    last.sort(key=lambda row: row[1])
    most = defaults.get("max") or max(value for _, value in last)
    line = '<div class="bar"><span>{}</span><i style="width:{:.0f}px;background:{}"></i><b>{}</b></div>'
    size = height / max(len(last), 1)
    lines = [line.format(escape(n), (width - 360) * min(v / most, 1), colour(v, defaults), number(v, defaults.get("unit"))) for n, v in last]
    return f'<div style="line-height:{size:.1f}px">{"".join(lines)}</div>'


def graph(panel: dict, rows: list[Series], width: int, height: int) -> str:
    unit = panel["fieldConfig"]["defaults"].get("unit")
    keys = (len(rows) + 2) // 3 if width > 500 else (len(rows) + 1) // 2
    left, bottom = 76, height - 16 - 15 * keys
    points = [point for _, line in rows for point in line]
    begin, end = min(at for at, _ in points), max(at for at, _ in points)
    low, high = min(0.0, *(v for _, v in points)), max(v for _, v in points)
    high = high if high > low else low + 1
    x = lambda at: left + (at - begin) / max(end - begin, 1) * (width - left - 6)  # noqa: E731
    y = lambda value: bottom - (value - low) / (high - low) * (bottom - 8)  # noqa: E731
    out = [f'<svg width="{width}" height="{height}">']
    for part in range(5):
        value = low + (high - low) * part / 4
        out.append(f'<line x1="{left}" x2="{width}" y1="{y(value):.1f}" y2="{y(value):.1f}" class="grid"/><text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{number(value, unit)}</text>')
    per_row = 3 if width > 500 else 2
    for at, (name, line) in enumerate(rows):
        ink = COLOURS[at % len(COLOURS)]
        path = " ".join(f"{x(t):.1f},{y(v):.1f}" for t, v in line)
        out.append(f'<polyline points="{path}" stroke="{ink}"/>')
        kx, ky = 8 + at % per_row * (width / per_row), bottom + 22 + 15 * (at // per_row)
        out.append(f'<rect x="{kx:.0f}" y="{ky - 5:.0f}" width="12" height="3" fill="{ink}"/><text x="{kx + 17:.0f}" y="{ky:.0f}">{escape(name)}</text>')
    return "".join(out) + "</svg>"


DRAWN = {"stat": stat, "bargauge": bars, "timeseries": graph}
PAGE = """<meta charset="utf-8"><style>
body { margin: 0; background: #111217; color: #ccccdc; font: 12px "DejaVu Sans", sans-serif; } #all { position: relative; }
.panel { position: absolute; background: #181b1f; border: 1px solid #2c3235; box-sizing: border-box; padding: 6px 8px; overflow: hidden; }
h3 { margin: 0 0 6px; font-size: 12px; font-weight: bold; } text { fill: #9fa7b3; font-size: 10.5px; } .grid { stroke: #2c3235; }
polyline { fill: none; stroke-width: 1.5; } .stat { display: flex; align-items: center; justify-content: center; font-size: 26px; color: #fff; }
.bar { display: flex; align-items: center; } .bar span { width: 270px; } .bar i { height: 60%%; min-height: 9px; margin-right: 8px; } p { position: absolute; margin: 0; left: 10px; }
</style><div id="all" style="width:%dpx;height:%dpx">%s<p style="top:%dpx">%s</p></div>"""
NOTE = f"Not Grafana: drawn by scripts/dev/dashboard.py from {DASHBOARD.name} and its Prometheus, the last {SPAN // 60} minutes."


def main(picture: str) -> None:
    panels, lowest = [], 0
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        width, height = place["w"] * WIDTH - GAP, place["h"] * ROW - GAP
        rows = series(panel)
        body = DRAWN[panel["type"]](panel, rows, width - 18, height - 36) if rows else "No data"
        style = f'left:{place["x"] * WIDTH}px;top:{place["y"] * ROW}px;width:{width}px;height:{height}px'
        panels.append(f'<div class="panel" style="{style}"><h3>{escape(panel["title"])}</h3>{body}</div>')
        lowest = max(lowest, (place["y"] + place["h"]) * ROW)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 24 * WIDTH, "height": lowest + 24})
        page.set_content(PAGE % (24 * WIDTH, lowest + 24, "".join(panels), lowest + 2, NOTE))
        page.locator("#all").screenshot(path=picture)
        browser.close()


main(*sys.argv[1:])
