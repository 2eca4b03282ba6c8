"""sin(x)/x and similar functions, and norms: finite in value and gradient where x = 0.

The trigonometric ones take the *square* of the angle: an angle computed as a norm then needs no
square root at zero, where its gradient is infinite. Near zero a Taylor polynomial takes over.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

# below this x^2 the series are used; they and the formulas are exact there to a few 1e-15
SMALL = 0.25


def sinc(x2: Tensor) -> Tensor:
    """sin(x) / x of x^2."""
    return _smooth(x2, _alternating(1), lambda x: x.sin() / x)


def cosc(x2: Tensor) -> Tensor:
    """(1 - cos(x)) / x^2 of x^2."""
    return _smooth(x2, _alternating(2), lambda x: (1 - x.cos()) / x**2)


def sincc(x2: Tensor) -> Tensor:
    """(x - sin(x)) / x^3 of x^2."""
    return _smooth(x2, _alternating(3), lambda x: (x - x.sin()) / x**3)


def cotc(x2: Tensor) -> Tensor:
    """(1 - (x / 2) cot(x / 2)) / x^2 of x^2, for |x| < 2 pi."""
    bernoulli = (
        1 / 12,
        1 / 720,
        1 / 30240,
        1 / 1209600,
        1 / 47900160,
        691 / 1307674368000,
        1 / 74724249600,
    )
    return _smooth(x2, bernoulli, lambda x: (1 - x / 2 / (x / 2).tan()) / x**2)


def norm(x: Tensor) -> Tensor:
    """Euclidean norm over the last dimension; its gradient at zero is zero. NaN stays NaN."""
    x2 = x.square().sum(-1)
    # sqrt only where its gradient is finite; sign takes what it makes of zero back to zero
    return x2.clamp(min=torch.finfo(x2.dtype).tiny).sqrt() * x2.sign()


def _alternating(first: int) -> tuple[float, ...]:
    """(-1)^k / (2k + first)! for k = 0, 1, ..."""
    return tuple((-1) ** k / math.factorial(2 * k + first) for k in range(8))


def _smooth(
    x2: Tensor, coefficients: tuple[float, ...], formula: Callable[[Tensor], Tensor]
) -> Tensor:
    """Power series in x^2 near zero, `formula` of x elsewhere.

    Both get arguments that are safe for them, unchanged where they count: otherwise the gradient of
    the one that does not count would be NaN.
    """
    near, far = x2.clamp(max=2 * SMALL), x2.clamp(min=SMALL / 2)
    series = torch.full_like(near, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        series = series * near + c
    return torch.where(x2 < SMALL, series, formula(far.sqrt()))
