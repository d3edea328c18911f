"""docs/guide.md and docs/operations.md as data, so that the tests run what they say and fail when they change."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "guide.md").read_text()
OPERATIONS = (DOCS / "operations.md").read_text()


def blocks(heading: str, language: str = "bash", page: str = TEXT) -> list[str]:
    """The code blocks of that language below the heading that contains these words, up to the next heading."""
    sections = re.split(r"^(#{2,4} .*)$", page, flags=re.MULTILINE)
    for title, body in zip(sections[1::2], sections[2::2], strict=True):
        if heading in title:
            found = re.findall(rf"^```{language}\n(.*?)^```$", body, flags=re.MULTILINE | re.DOTALL)
            if found:
                return found
    raise LookupError(f"the page has no {language} block below {heading!r}")


def block(heading: str, language: str = "bash") -> str:
    """The only such block."""
    (only,) = blocks(heading, language)
    return only


def commands(text: str) -> list[str]:
    """The commands of a block, one string each, without the comments between them."""
    found: list[str] = []
    open_quote = False
    for line in text.splitlines():
        if not open_quote and (not line.strip() or line.lstrip().startswith("#")):
            continue
        if found and (open_quote or found[-1].endswith("\\")):
            found[-1] += "\n" + line
        else:
            found.append(line)
        open_quote = found[-1].count("'") % 2 == 1
    return found
