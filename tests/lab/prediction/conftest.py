"""Trained runs that the tests of predictions share."""

import pytest

from gigp.lab.training.run import run
from tests.conftest import tiny

SMALL = tiny(epochs=1, train=150, val=40, test=60)
RUNS = {
    "E3": ("target=all", *SMALL),
    "T3": ("target=all", "group=T3", *SMALL),
    "SE3": ("target=[homo,U0]", "group=SE3", *SMALL),
    "mass": (
        "target=U0",
        "group=SO3",
        "dataset.center=mass",
        "orbits.center=origin",
        "backbone.blocks=1",
        *SMALL,
    ),
    "schnet": (
        "target=[homo,U0]",
        "backbone=schnet",
        "backbone.channels=16",
        "backbone.layers=2",
        *SMALL,
    ),
    "visnet": (
        "target=[homo,U0]",
        "backbone=visnet",
        "backbone.channels=16",
        "backbone.layers=2",
        *SMALL,
    ),
    "dimenet": (
        "target=[homo,U0]",
        "backbone=dimenet",
        "backbone.channels=16",
        "backbone.layers=1",
        "backbone.spherical=3",
        "backbone.radial=3",
        *SMALL,
    ),
    "images": ("dataset=rotmnist", *tiny(epochs=1, train=100, val=20, test=60)),
}


@pytest.fixture
def trained(configure, tmp_path_factory, qm9, digits):
    """Make a run, once, and return its folder and summary."""
    root = tmp_path_factory.getbasetemp() / "predict"

    def make(name: str, *overrides: str):
        summary = run(configure(*(overrides or RUNS[name]), f"name={name}", f"results_dir={root}"))
        return root / name / "seed0", summary

    return make


def head_on(folder, cache, *overrides: str) -> tuple[str, ...]:
    """What trains a pool and a head on the features of a run."""
    options = (
        "scale=debug",
        "trainer.max_epochs=1",
        "trainer.accelerator=cpu",
        "backbone=identity",
        "init_from=null",
    )
    return (
        "dataset=features",
        f"dataset.run={folder}",
        f"dataset.cache={cache}",
        *options,
        *overrides,
    )
