# SPDX-License-Identifier: MIT
"""The meters of a node: one module a source of energy, and `choice`, which takes the first that works."""

from .base import Domain, Meter, Part, Place, Reading
from .choice import Meters

__all__ = ["Domain", "Meter", "Meters", "Part", "Place", "Reading"]
