# SPDX-License-Identifier: MIT
"""The accelerators that carbon-estimate knows: the site's own table before the shipped one."""

from __future__ import annotations

from pathlib import Path

from carbon_collector.errors import SettingsError
from carbon_collector.lean.typing import TYPE_CHECKING
from carbon_collector.meters import tdp

from .common import configuration

if TYPE_CHECKING:
    from carbon_collector.settings import Settings


def accelerators(config: Settings | None = None) -> list[tdp.Accelerator]:
    """Return the table: rows of [site] accelerators first. Raises SettingsError."""
    settings = configuration() if config is None else config
    path = settings.text("site", "accelerators")
    if not path:
        return tdp.accelerators()
    try:
        own = tdp.read_accelerators(Path(path).read_text("utf-8").splitlines())
    except (OSError, ValueError) as err:
        raise SettingsError(f"[site] accelerators = {path}: {err}") from err
    return [*own, *tdp.accelerators()]
