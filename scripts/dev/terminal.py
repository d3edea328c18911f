"""terminal.py COMMAND PICTURE: what a terminal shows of standard input, colours included, by ansi2html and headless Chromium."""

import html
import sys

from ansi2html import Ansi2HTMLConverter
from playwright.sync_api import sync_playwright

PAGE = """<meta charset="utf-8"><style>
body { margin: 0; background: #1b1e24; }
#window { display: inline-block; padding: 18px 22px; color: #d7dae0; font: 14px/1.35 "DejaVu Sans Mono", monospace; white-space: pre; }
.ansi1 { font-weight: bold; } .ansi31 { color: #ff6b6b; } .ansi32 { color: #7bd88f; } .ansi33 { color: #ffd866; }
.prompt { color: #8b93a1; }
</style><div id="window"><span class="prompt">$ %s</span>
%s</div>"""


def main(command: str, picture: str) -> None:
    shown = sys.stdin.read().replace("\r", "")
    body = Ansi2HTMLConverter(inline=False).convert(shown, full=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1600, "height": 900})
        page.set_content(PAGE % (html.escape(command), body))
        page.locator("#window").screenshot(path=picture)
        browser.close()


main(*sys.argv[1:])
