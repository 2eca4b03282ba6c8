"""Shapes that all batches of a size share, as compiled networks need."""

import numpy as np

from gigp.pointcloud import Sizes

# A batch has room for the mean number of points plus this many standard deviations; one that needs
# more gets the largest possible shape.
RARE = 6


def bound_sizes(counts: np.ndarray, train: np.ndarray, largest: int) -> Sizes:
    """Upper bounds of the sizes of a batch, the same for nearly all batches of as many clouds.

    Args:
        counts: number of points of each cloud of the batch, (B,).
        train: of each training cloud, (n,).
        largest: most points of any cloud of the data set.
    """
    clouds, sizes = len(counts), Sizes(counts)
    bounds = []
    for known, values in ((sizes.points, train), (sizes.pairs, train**2)):
        likely = clouds * values.mean() + RARE * clouds**0.5 * values.std()
        bound = min(-int(-likely // 64) * 64, clouds * int(values.max()))
        bounds.append(bound if known <= bound else None)
    points, pairs = bounds
    if points is None or pairs is None:
        points, pairs = clouds * largest, clouds * largest**2
    return Sizes.at_most(points, pairs)
