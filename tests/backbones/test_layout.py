"""The packed and the padded layout: every point is where it belongs, and both give one network."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gigp.backbones.lieconv.layout import Layout, Packed
from gigp.backbones.lieconv.padded import Padded
from gigp.pointcloud import Sizes


def layouts(mask: torch.Tensor) -> list[Layout]:
    """Packed, padded with known sizes, and padded with upper bounds."""
    sizes = Sizes.of(mask)
    more = 3 if sizes.points else 0  # copies need a row to copy
    bound = Sizes.at_most(sizes.points + more, sizes.pairs + 2 * more)
    padded = [Padded.of(mask, s, torch.float64) for s in (sizes, bound, None)]
    return [Packed.of(sizes), *padded]


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 6), max_size=5), width=st.integers(0, 3))
def test_rows_give_back_every_point(sizes, width):
    """To rows and back, with clouds without points, batches without clouds, and no channels."""
    points = max(sizes, default=0)
    mask = torch.arange(points) < torch.tensor(sizes, dtype=torch.long).reshape(-1, 1)
    x = torch.randn(len(sizes), points, width)
    expected = torch.where(mask.unsqueeze(-1), x, 0)
    for i, layout in enumerate(layouts(mask)):
        rows = layout.rows(x)
        assert i > 1 or rows.shape == (sum(sizes), 1, width)
        assert torch.equal(layout.clouds(rows), expected)
        assert torch.equal(layout.mask(), mask)


@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.9])
def test_a_fraction_of_each_cloud_is_kept(fraction):
    counts = torch.tensor([1, 2, 3, 5, 0, 9])
    expected = [max(1, round(fraction * n)) if n else 0 for n in counts.tolist()]
    for layout in layouts(torch.arange(9) < counts[:, None]):
        assert layout.keep(fraction).mask().sum(1).tolist() == expected
        assert layout.lift(2).mask().sum(1).tolist() == (2 * counts).tolist()
