"""What the fault tests run: seconds on synthetic clouds, some more on real molecules."""

import pytest

from tests.conftest import tiny


@pytest.fixture
def clouds(configure):
    """Configurations of a tiny run on synthetic clouds, by name and further overrides."""

    def make(name: str, *overrides: str):
        sizes = tiny(epochs=2, train=60, val=20, test=20)
        return configure("dataset=orbits", *sizes, "dataset.batch_size=20", f"name={name}", *overrides)

    return make


@pytest.fixture
def molecules(configure, qm9):
    """The same on molecules, with the whole network."""

    def make(name: str, *overrides: str):
        sizes = tiny(epochs=4, train=150, val=60, test=70)
        return configure("dataset=qm9", *sizes, "recalibrate=100", f"name={name}", *overrides)

    return make
