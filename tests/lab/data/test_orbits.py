"""Synthetic clouds: the functions are what they say, and no function of sums can do better than the
stated limit.
"""

import pytest
import torch

from gigp.errors import InputError
from gigp.lab.data.orbits import FUNCTIONS, OrbitClouds, best_of_sums
from gigp.lab.training.run import run


def clouds(function: str, **options) -> OrbitClouds:
    data = OrbitClouds(function, train_size=200, val_size=10, test_size=300, **options)
    data.setup()
    return data


def by_hand(function: str, pos, x) -> float:
    """The target of one cloud from its positions, by loops."""
    orbits: dict[int, list[float]] = {}
    for p, value in zip(pos, x, strict=True):
        orbits.setdefault(round(float(p.norm())), []).append(float(value))
    if function == "lit_radius":
        return next(radius for radius, values in orbits.items() if 1.0 in values)
    if function == "parity":
        return sum(len(values) % 2 for values in orbits.values())
    return sum(sum(values) ** 2 for values in orbits.values())


@pytest.mark.parametrize("function", FUNCTIONS)
def test_targets(function):
    data = clouds(function)
    (pos, feat, mask, *_), target = data.get_batch(torch.arange(50))
    assert mask.all()
    for p, f, y in zip(pos, feat, target, strict=True):
        assert float(y) == by_hand(function, p, f[:, 0])
    assert (len({round(float(p.norm())) for p in pos[0]}) == 1) == (function == "one_orbit")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_limit(function):
    data = clouds(function)
    limit, target = data.description["limit"]["mean and sum"], data.values[data.indices["test"], 0]
    spread = float((target - target.median()).abs().mean())
    if function == "one_orbit":
        assert limit == 0  # a function of the sum
    else:
        assert 0.5 * spread < limit <= spread


def test_limit_of_a_known_case():
    assert best_of_sums(
        torch.tensor([0.0, 0, 0, 2]), torch.tensor([1.0, 2, 6, 9])
    ) == pytest.approx(5 / 4)


def test_augmentation_turns_and_keeps_the_radius():
    data = clouds("parity")
    cloud, _ = data.get_batch(torch.arange(5))
    turned, _ = data.prepare_batch((cloud, None), augment=True)
    assert not torch.allclose(cloud.pos, turned.pos)
    torch.testing.assert_close(cloud.pos.norm(dim=-1), turned.pos.norm(dim=-1))


def test_the_clouds_do_not_depend_on_the_seed():
    assert clouds("parity", seed=1).description == clouds("parity", seed=2).description


@pytest.mark.slow  # docs/quickstart.ipynb shows the same after three epochs
def test_gigp_expresses_what_mean_pooling_cannot(configure):
    options = (
        "dataset=orbits",
        "target=lit_radius",
        "scale=small",
        "trainer.max_epochs=15",
        "dataset.test_size=500",
    )
    error = {
        p: run(configure(*options, f"pool={p}")).metrics["lit_radius"].test
        for p in ("gigp", "mean")
    }
    assert error["gigp"] < 0.3
    assert error["mean"] > 1.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"function": "parties"}, "parties"),
        ({"points": 0}, "points=0: a cloud needs one point"),
        ({"test_size": 0}, "dataset.test_size=0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        OrbitClouds(**options)
