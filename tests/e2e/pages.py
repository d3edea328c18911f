"""The pages a user reads: transcripts in them that a test produces, and the table of who runs their commands.

A transcript is a `console` block below a marker, `<!-- transcript: NAME -->`: its first line is the command, the rest is
what it printed. `UPDATE_DOCS=1` writes the block anew. tests/pages is the same for tests that need no stack.
"""

import os
import re

from stack import ROOT, run

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]

# What differs from one run to the next, the longest first.
VARIES = [
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( UTC|Z)?", "TIME"),
    (r"\d{4}-\d\d-\d\d", "DATE"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "ID"),
    (r"\b[0-9a-f]{16,}\b", "HEX"),
    (r"\b\d+[dhms]( \d+[hms])?\b", "SPAN"),
    (r"\b\d+\.\d+\.\d+\.\d+(:\d+)?\b", "ADDRESS"),
    (r"\b\d+\b", "N"),
    (r" +$", ""),
    (r" {2,}", "  "),
]


def masked(text: str, *more: tuple[str, str]) -> str:
    for pattern, word in [*more, *VARIES]:
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return text


def transcript(name: str, command: str, *more: tuple[str, str], code: int = 0, keep: str = "") -> None:
    """Runs the command and compares what it prints with the page, but for what varies (`more`: pattern, word).

    `keep` is a pattern: only lines that have it are shown, for a record that others write to meanwhile.
    """
    done = run("bash", "-c", command)
    assert done.returncode == code, f"{command} exited {done.returncode}:\n{done.text}"
    lines = [line.rstrip() for line in done.text.splitlines() if re.search(keep, line)]
    now = "\n".join([f"$ {command}", *lines, ""])
    block = re.compile(rf"(<!-- transcript: {name} -->\n```console\n)(.*?)(```\n)", re.DOTALL)
    (page,) = [page for page in PAGES if block.search(page.read_text())]
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(block.sub(lambda found: found[1] + now + found[3], page.read_text()))
    shown = block.search(page.read_text())[2]
    assert masked(shown, *more) == masked(now, *more), f"{page.name} is stale: run with UPDATE_DOCS=1\n--- page\n{shown}\n--- now\n{now}"


def commands_for_the_stack() -> list[tuple[str, str]]:
    """Page and command of each row of the table that this file has to run."""
    table = (ROOT / "tests/data/doc-commands.tsv").read_text()
    rows = [line.split("\t") for line in table.splitlines() if not line.startswith("#")]
    return [(page, command) for page, command, by in rows if by == "stack"]


def block_commands(page: str) -> list[str]:
    """The commands of the `bash` blocks of a page, a line each, without comments."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = [re.sub(r"\s+#.*$", "", line) for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]
