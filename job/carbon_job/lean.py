# SPDX-License-Identifier: MIT
"""Stands in for `typing` and `signal`, which a bare program would import for this package alone, for milliseconds.

To a type checker this `NamedTuple` is `typing.NamedTuple`. What this package uses of it behaves alike: fields with
defaults, `_fields`, `_replace`, `_asdict`, equality and unpacking as a tuple. `signal` is the C module behind the
standard one, without its `enum`; an interpreter other than CPython gets the standard module.
"""

from __future__ import annotations

from _operator import itemgetter  # the C module that `operator` wraps

__all__ = ["TYPE_CHECKING", "NamedTuple", "signal"]

TYPE_CHECKING = False

if TYPE_CHECKING:
    import signal
    from typing import NamedTuple
else:
    try:
        import _signal as signal
    except ImportError:
        import signal

    class _Named(type):
        def __new__(cls, name, bases, body):
            made = super().__new__(cls, name, bases, {"__slots__": (), **body})
            if bases and bases[0] is not tuple:
                made._fields = tuple(made.__annotations__)
                defaults = {field: body[field] for field in made._fields if field in body}
                for place, field in enumerate(made._fields):
                    setattr(made, field, property(itemgetter(place)))
                made.__new__ = _maker(made._fields, defaults)
            return made

    def _maker(fields, defaults):
        """Return a constructor that is compiled for these fields: a general one would be three times slower."""
        signature = ", ".join(f"{field}=_defaults[{field!r}]" if field in defaults else field for field in fields)
        scope = {"_defaults": defaults, "_make": tuple.__new__}
        return eval(f"lambda _cls, {signature}: _make(_cls, ({', '.join(fields)},))", scope)  # noqa: S307 - field names

    class NamedTuple(tuple, metaclass=_Named):
        """A tuple whose places have names. Fields are annotated class attributes; those with defaults come last."""

        __slots__ = ()
        _fields = ()

        def _replace(self, **changes):
            return type(self)(**{**self._asdict(), **changes})

        def _asdict(self):
            return dict(zip(self._fields, self))

        def __repr__(self):
            return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self._asdict().items())})"

        def __getnewargs__(self):
            return tuple(self)
