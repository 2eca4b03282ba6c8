"""Whether two generated files are the same but for what rounding can change: the last digits of
floating-point numbers depend on the processor.
"""

import re
from collections.abc import Callable

NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
TAG = re.compile(r"(<[^>]*>)")
COUNTS = 100  # whole numbers below this are compared exactly: seeds, epochs, p values of 1
POINTS = 0.02  # of a drawing; a point is 1/72 inch

Allowed = Callable[[str, str], float]


def same_text(one: str, other: str) -> bool:
    """Whether two texts are the same but for one unit of the last digit of each number."""
    return _alike(one, other, lambda a, b: max(last_unit(a), last_unit(b)))


def same_drawing(one: str, other: str) -> bool:
    """Whether two SVG files have the same structure and text, and coordinates but for `POINTS`."""
    pieces, others = TAG.split(one), TAG.split(other)
    return len(pieces) == len(others) and all(
        a == b or (a.startswith("<") and _alike(a, b, lambda *_: POINTS))
        for a, b in zip(pieces, others, strict=True)
    )


def last_unit(number: str) -> float:
    """One unit of the last digit of a number as written; 0 for counts."""
    mantissa, _, exponent = number.partition("e")
    decimals = len(mantissa.partition(".")[2])
    if not decimals and not exponent and abs(int(number)) < COUNTS:
        return 0.0
    return 10.0 ** (int(exponent or 0) - decimals)


def _alike(one: str, other: str, allowed: Allowed) -> bool:
    if NUMBER.split(one) != NUMBER.split(other):
        return False
    return all(
        a == b or abs(float(a) - float(b)) <= allowed(a, b) * (1 + 1e-6)
        for a, b in zip(NUMBER.findall(one), NUMBER.findall(other), strict=True)
    )
