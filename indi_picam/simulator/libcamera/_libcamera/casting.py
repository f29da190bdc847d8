"""Conversions of arguments as strict as those of the real bindings (pybind11's casters).

A float is never taken for an integer, a number out of range is refused, and what has ``__index__``
(numpy's integers, enumerators) is an integer.
"""

from __future__ import annotations

import operator
from typing import Any, TypeVar

T = TypeVar("T")


def integer(value: Any, bits: int = 32, signed: bool = True) -> int:
    """The value as an integer of that width; TypeError otherwise."""
    if isinstance(value, float) or not hasattr(value, "__index__"):
        raise TypeError(f"incompatible argument: an integer is needed, not {value!r}")
    number = operator.index(value)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if not low <= number <= high:
        raise TypeError(f"incompatible argument: {number} does not fit {bits} bits")
    return number


def unsigned(value: Any) -> int:
    """The value as an unsigned 32-bit integer; TypeError otherwise."""
    return integer(value, 32, signed=False)


def instance(value: Any, kind: type[T]) -> T:
    """The value when it is of that class; TypeError otherwise."""
    if not isinstance(value, kind):
        raise TypeError(f"incompatible argument: {kind.__name__} is needed, not {value!r}")
    return value
