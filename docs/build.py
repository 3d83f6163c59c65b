# SPDX-License-Identifier: MIT
"""Builds the documentation as a site: `python docs/build.py [FOLDER]`, with Sphinx, furo, MyST and mandoc.

The pages are the Markdown files where they are in the repository, and the man pages. They are put together in a folder of
their own, so that their links to one another hold. A warning is an error, and so is a fault that check.py finds in the built site.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from access import mended
from check import faults

CHECKOUT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
FOLDERS = ("docs", "docs/adr", "ansible", "prolog", "epilog", "benchmarks")
FRAME = re.compile(r'<table class="(?:head|foot)">.*?</table>|</?section[^>]*>|<div class="manual-text">', re.DOTALL)
"""What mandoc puts around the text of a page and of its sections: the site has its own."""
PERMALINK = re.compile(r'<a class="permalink"[^>]*>(.*?)</a>', re.DOTALL)
TERM = re.compile(r'(?<=<dt )id="')
"""The anchors of options and settings; a heading may have the same name."""
HEADING = re.compile(r'<h([12]) class="S[hs]"[^>]*>(.*?)</h[12]>', re.DOTALL)
BRACKET, ESCAPED = re.compile(r"([\[\]])"), r"\\\1"
RAW = "````{{raw}} html\n{}\n````"
LIST = "# {}\n\n```{{toctree}}\n:maxdepth: 1\n\n{}\n```\n"


def main() -> int:
    """Build the site and return the exit status: Sphinx' own, or 1 where the site has a fault."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else CHECKOUT / "build/docs").absolute()
    sources = target / "sources"
    shutil.rmtree(target, ignore_errors=True)
    gather(sources)
    sphinx = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    where = ["-c", str(CHECKOUT / "docs"), "-d", str(target / "doctrees"), str(sources), str(target / "html")]
    status = subprocess.run([*sphinx, *where], env={**os.environ, "TZ": "UTC"}, check=False).returncode
    if status != 0:
        return status
    for page in (target / "html").rglob("*.html"):
        page.write_text(mended(page.read_text()))
    found = list(faults(target / "html"))
    sys.stderr.writelines(f"{fault}\n" for fault in found)
    sys.stdout.write(f"{target / 'html/index.html'}\n")
    return 1 if found else 0


def gather(into: Path) -> None:
    """Put all pages into a folder, as they lie in the repository."""
    names = [CHECKOUT / name for name in PAGES]
    names += [page for folder in FOLDERS for page in sorted((CHECKOUT / folder).glob("*.md"))]
    for page in names:
        copy(page, into)
    for picture in sorted((CHECKOUT / "docs/pictures").glob("*.svg")):
        copy(picture, into)
    (into / "docs/index.md").rename(into / "index.md")
    records = sorted(path.stem for path in (into / "docs/adr").glob("*.md"))
    (into / "docs/adr/index.md").write_text(LIST.format("Decisions", "\n".join(records)))
    man = into / "docs/man"
    man.mkdir()
    pages = sorted((CHECKOUT / "docs/man").glob("*.[1-9]"))
    for page in pages:
        (man / f"{page.name}.md").write_text(man_page(page))
    (man / "index.md").write_text(LIST.format("Man pages", "\n".join(page.name for page in pages)))


def copy(page: Path, into: Path) -> None:
    """Copy a file to the place below a folder that it has in the repository."""
    target = into / page.relative_to(CHECKOUT)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(page, target)


def man_page(page: Path) -> str:
    """Return a man page as Markdown: its headings, and between them the text as mandoc writes it in HTML."""
    command = ["mandoc", "-T", "html", "-O", "fragment", str(page)]
    html = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    html = FRAME.sub("", html).rstrip().removesuffix("</div>")
    html = TERM.sub(r'id="term-', PERMALINK.sub(r"\1", html))
    first, *rest = HEADING.split(html)
    parts = [f"# {page.stem}({page.suffix[1:]})", RAW.format(first)]
    for level, title, text in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
        parts += [f"#{'#' * int(level)} {BRACKET.sub(ESCAPED, title)}", RAW.format(text)]
    return "\n\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
