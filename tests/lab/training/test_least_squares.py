"""A head at its least-squares fit is the one that NumPy finds."""

import numpy as np
import pytest
import torch

from gigp.errors import InputError
from gigp.lab.config.instantiate import instantiate
from gigp.lab.config.validate import check_settings
from gigp.lab.training.least_squares import RIDGE, solve_head
from gigp.lab.training.load import build_model, build_module
from tests.conftest import tiny

SMALL = tiny(epochs=1, train=300, val=20, test=20)
SETTINGS = ("pool_on=features", "solve_head=true", "backbone.width=8", "backbone.blocks=1")


def build(configure, *options: str):
    """Module and data of a run before its training."""
    cfg = configure(*SMALL, *SETTINGS, *options)
    data = instantiate(cfg.dataset)
    data.setup()
    model = build_model(cfg, data)
    model.calibrate(data.train_clouds())
    return build_module(model, data, lr=1e-3), data


@pytest.mark.parametrize(
    "pool", [("pool=mean", "pool_inputs=true"), ("pool=moments", "pool.linear=false")]
)
def test_fit(configure, qm9, pool):
    module, data = build(configure, "target=[homo,r2]", *pool)
    solve_head(module, data)
    assert module.training
    module.eval()
    cloud, target = data.prepare_batch(data.get_batch(data.indices["train"]), augment=False)
    with torch.no_grad():
        inputs, found = module.model.pooled(cloud), module.model(cloud)
    x, z = inputs.double().numpy(), ((target - module.mean) / module.std).double().numpy()
    scale = x.std(0).clip(1e-6 * np.abs(x).mean())
    x, centered = (x - x.mean(0)) / scale, z - z.mean(0)
    ridge = (RIDGE * len(x)) ** 0.5 * np.eye(x.shape[1])
    weight = np.linalg.lstsq(np.r_[x, ridge], np.r_[centered, 0 * ridge[:, :2]])[0]
    np.testing.assert_allclose(found, x @ weight + z.mean(0), atol=2e-3)
    error, mean_error = np.abs(found.numpy() - z).mean(0), np.abs(centered).mean(0)
    assert error[1] < 0.65 * mean_error[1]


def test_moments_are_numbers_of_atoms_and_squared_radii(configure, qm9):
    """Sums of the input features, whatever a pool divides by: r2 is nearly linear in them."""
    options = ("pool=moments", "pool.linear=false", "pool_inputs=true", "orbits.center=mass")
    module, data = build(configure, "target=r2", *options)
    solve_head(module, data)
    cloud, target = data.prepare_batch(data.get_batch(data.indices["val"]), augment=False)
    with torch.no_grad():
        error = (module.eval().denormalize(module.model(cloud)) - target).abs().mean()
        counts = module.model.pooled(cloud)[:, 8] * 16  # of hydrogen, the first input
    assert error < 5  # bohr^2; the fit on numbers of atoms alone is 166 off
    hydrogens = (cloud.feat[..., 0] * cloud.mask).sum(1)
    torch.testing.assert_close(counts, hydrogens)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("dataset=rotmnist", "dataset.source=embedded"), "and they are classes"),
        (("pool_on=outputs",), "needs a head that follows the pool"),
    ],
)
def test_what_has_no_fit(configure, qm9, digits, options, message):
    module, data = build(configure, *options)
    with pytest.raises(InputError, match=message):
        solve_head(module, data)
    if "pool_on=outputs" in options:
        with pytest.raises(InputError, match="the head comes before the pool"):
            check_settings(configure(*SMALL, *SETTINGS, *options), [])
