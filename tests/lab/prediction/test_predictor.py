"""The predictor in Python: inputs that are made by hand, not read from files."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import gigp
from gigp.errors import InputError
from gigp.lab.molecules.readers.molecule import make_molecule

WATER = [[0.0, 0.0, 0.12], [0.0, 0.76, -0.47], [0.0, -0.76, -0.47]]
IMAGE = torch.zeros(28, 28)
IMAGE[8:20, 13:15] = 255.0


@pytest.fixture(scope="module")
def predictor():
    return gigp.load("qm9")


@pytest.fixture(scope="module")
def digits_predictor():
    return gigp.load("rotmnist")


def test_a_molecule_from_any_kind_of_numbers(predictor):
    expected = predictor([make_molecule(["O", "H", "H"], WATER)])
    for elements, positions in (
        (("O", "H1", "D"), WATER),
        ([8, 1, 1], np.array(WATER)),
        (np.array([8, 1, 1]), torch.tensor(WATER)),
        (torch.tensor([8, 1, 1]), torch.tensor(WATER, dtype=torch.float64, requires_grad=True)),
        ((e for e in "OHH"), [tuple(row) for row in WATER]),
    ):
        found = predictor([make_molecule(elements, positions)])
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (WATER[:2], r"positions of shape \(2, 3\) for 3 atoms; expected \(3, 3\)"),
        ([0.0] * 9, r"positions of shape \(9,\) for 3 atoms"),
        ([[0.0, 0.0], *WATER[1:]], "the positions are not rows of three numbers"),
        ([["x", "y", "z"], *WATER[1:]], "the positions are not rows of three numbers"),
        (None, "the positions are not rows of three numbers"),
    ],
)
def test_wrong_positions(positions, message):
    with pytest.raises(InputError, match=message):
        make_molecule(["O", "H", "H"], positions)


def test_any_iterable_of_inputs(predictor, digits_predictor):
    water = make_molecule(["O", "H", "H"], WATER)
    assert len(predictor(water for _ in range(3))) == 3
    assert predictor([]).shape == (0, len(predictor.columns))
    images = torch.stack([IMAGE, IMAGE.T, IMAGE.flip(0)])
    assert torch.equal(digits_predictor(images), digits_predictor(list(images)))


def test_one_input_in_place_of_several(predictor, digits_predictor):
    for call, one in (
        (predictor, make_molecule(["O", "H", "H"], WATER)),
        (predictor, "CCO"),
        (digits_predictor, IMAGE),
    ):
        with pytest.raises(InputError, match="in place of several; pass a list"):
            call(one)


@pytest.mark.parametrize("given", ["CCO", SimpleNamespace(numbers=[1]), IMAGE, None])
def test_what_is_no_molecule(predictor, given):
    with pytest.raises(InputError, match=r"is not a molecule; .*make_molecule"):
        predictor([given])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (IMAGE.numpy(), "ndarray is not an image; pass a tensor"),
        (IMAGE[:, :20], "28 x 20 pixels; the model takes 28 x 28"),
        (IMAGE.expand(3, 28, 28), "3 x 28 x 28 pixels"),
        (IMAGE / 255, "no pixel is above 1, where white is 255"),
        (IMAGE - 1, "values from -1 to 254; gray values go from 0 to 255"),
        (IMAGE * torch.nan, "values from nan"),
        (torch.zeros(28, 28), "there is no digit"),
        (255 - IMAGE, "the background is light"),
    ],
)
def test_what_is_no_digit(digits_predictor, image, message):
    with pytest.raises(InputError, match=message):
        digits_predictor([image])
