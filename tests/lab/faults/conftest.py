"""What the fault tests run: seconds on synthetic clouds, some more on real molecules."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gigp.lab.training.run import run
from tests.conftest import tiny
from tests.lab.faults.disk import Disk


@pytest.fixture
def clouds(configure):
    """Configurations of a tiny run on synthetic clouds, by name and further overrides."""

    def make(name: str, *overrides: str):
        sizes = tiny(epochs=2, train=60, val=20, test=20)
        return configure(
            "dataset=orbits", *sizes, "dataset.batch_size=20", f"name={name}", *overrides
        )

    return make


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory) -> Path:
    """Folder of the run that the first test makes."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def trained(clouds, trained_once):
    """The configuration of a finished run, which a test may change as it likes."""
    cfg = clouds("it")
    if not list(trained_once.iterdir()):
        run(clouds("it", f"results_dir={trained_once}"))
    shutil.copytree(trained_once, cfg.results_dir)
    return cfg


@pytest.fixture
def molecules(configure, qm9):
    """The same on molecules, with the whole network."""

    def make(name: str, *overrides: str):
        sizes = tiny(epochs=4, train=150, val=60, test=70)
        return configure("dataset=qm9", *sizes, "batch_norm_clouds=100", f"name={name}", *overrides)

    return make


@pytest.fixture
def disk(tmp_path) -> Iterator[Callable[[int], Disk]]:
    """A real disk of so many bytes, which can be full or read-only."""
    mounted: list[Path] = []

    def mount(size: int) -> Disk:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"a small disk cannot be mounted here: {getattr(error, 'stderr', error)}")
        mounted.append(folder)
        return Disk(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
