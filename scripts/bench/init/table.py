"""The table of scripts/bench/init.sh from its results: a line `NAME MEASUREMENT FIGURES…` each."""

import sys
from collections import defaultdict

figures = defaultdict(lambda: defaultdict(list))
for line in open(sys.argv[1], encoding="utf-8"):
    name, what, *numbers = line.split()
    figures[name][what].append([float(n) for n in numbers])


def low(name: str, what: str, part: float) -> float | None:
    """The value below which this part of all measurements lies."""
    values = sorted(row[0] for row in figures[name][what])
    return values[int(len(values) * part)] if values else None


def cell(name: str, what: str, scale: float = 1, digits: int = 0) -> str:
    """p10, its ratio to the floor's, and the median."""
    tenth, half, floor = low(name, what, 0.1), low(name, what, 0.5), low("floor", what, 0.1)
    if tenth is None or half is None or not floor:
        return "–"
    return f"{tenth / scale:.{digits}f} ({tenth / floor:.2f}×; {half / scale:.{digits}f})"


def single(name: str, what: str, column: int = 0) -> str:
    rows = figures[name][what]
    return f"{rows[0][column]:,.0f}" if rows else "–"


print("| | exec → command's main, ms | signal, µs | SIGTERM → over, ms | orphans reaped a second | wakes in 10 s | lost of 100 early SIGTERMs | RSS, PSS, private dirty KiB | processes, threads | bytes |")
print("|---|---|---|---|---|---|---|---|---|---|")
for name in figures:
    best = max((row[0] for row in figures[name]["reap"]), default=None)
    memory = ", ".join(single(name, "memory", column) for column in range(3))
    many = ", ".join(single(name, "memory", column) for column in (3, 4))
    row = [
        cell(name, "start", 1000, 2), cell(name, "signal", 1, 1), cell(name, "stop", 1000, 2),
        f"{best:,.0f}" if best else "–", single(name, "idle"), single(name, "lost"), memory, many, single(name, "bytes"),
    ]
    print(f"| {name} | " + " | ".join(row) + " |")
