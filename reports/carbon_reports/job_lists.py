# SPDX-License-Identifier: MIT
"""Writes the lists of all runs, CSV and JSON, of the site, each owner and each project, in one pass and without holding
them.

A run is read once and turned into text once, and the text is appended to each file that it belongs in.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING

from . import digest, files
from .publish import file_stem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from .facts import Job
    from .period import Period

HELD = 32 << 20
"""The number of characters that are held before they are appended to files: there may be more files than can be open.
"""


class Files:
    """Files that text is appended to. What was not written yet is written by `write`."""

    def __init__(self) -> None:
        self._texts: defaultdict[Path, list[str]] = defaultdict(list)
        self._held = 0

    def append(self, path: Path, text: str) -> None:
        """Append to a file."""
        self._texts[path].append(text)
        self._held += len(text)
        if self._held > HELD:
            self.write()

    def write(self) -> None:
        """Write what is held."""
        for path, texts in self._texts.items():
            with path.open("a", encoding="utf-8", newline="") as file:
                file.writelines(texts)
        self._texts.clear()
        self._held = 0


def write_lists(folder: Path, jobs: Iterable[Job], period: Period, formats: Collection[str]) -> None:
    """Append all runs to the files of a report, in which the lists have begun."""
    texts = Files()
    begun: set[Path] = set()
    main = {form: folder / name for form, name in (("csv", "jobs.csv"), ("json", "report.json"))}

    @cache  # a path takes longer to make than the text that is written to it
    def path_of(kind: str, name: str, form: str) -> Path:
        return folder / kind / f"{file_stem(name)}.{form}"

    for job in jobs:
        names = (("users", job["owner"]), ("accounts", job["project"]))
        if "csv" in formats:
            row = files.job_csv(job, period)
            for path in (main["csv"], *(path_of(kind, name, "csv") for kind, name in names)):
                texts.append(path, row)
        if "json" in formats:
            item = files.job_json(job)
            for path in (main["json"], *(path_of(kind, name, "json") for kind, name in names)):
                texts.append(path, ("," if path in begun else "") + item)
                begun.add(path)
    for path in set(folder.rglob("*.json")) - {folder / digest.FILE}:
        texts.append(path, files.JSON_END)
    texts.write()
