"""Fixtures that several test files share."""

import gc
import shutil
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from omegaconf import DictConfig

from gigp.lab.config.compose import compose_config
from gigp.lab.images.rotmnist import RotMNIST
from gigp.lab.molecules.qm9 import QM9

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")  # names that browsers are found by
# nothing but the page: no sandbox for root, no graphics card, no calls home
QUIETLY = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
ROOT = Path(__file__).resolve().parents[1]
DATA = str(ROOT / "data")


def tiny(*, epochs: int, train: int, val: int, test: int) -> tuple[str, ...]:
    """Overrides that shrink a run to seconds."""
    sizes = (
        f"dataset.{part}_size={size}"
        for part, size in (("train", train), ("val", val), ("test", test))
    )
    return ("scale=debug", f"trainer.max_epochs={epochs}", "trainer.accelerator=cpu", *sizes)


@pytest.fixture(autouse=True, scope="session")
def _imported():
    """What is imported stays: a run that collects garbage need not walk through it, 0.25 s."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _set_up(name: str, module):
    """Build the cache in one process at a time, so that parallel workers read what the first one
    wrote.
    """
    (ROOT / "data").mkdir(exist_ok=True)
    with FileLock(ROOT / "data" / f".{name}.lock"):
        module.setup()
    return module


@pytest.fixture(scope="session")
def qm9() -> QM9:
    """All molecules of QM9 with all twelve targets."""
    return _set_up("qm9", QM9(root=DATA, cache=DATA, target="all"))


@pytest.fixture(scope="session")
def digits() -> RotMNIST:
    """The rotated digits that need no download."""
    return _set_up("digits", RotMNIST(root=DATA, cache=DATA, source="embedded"))


@pytest.fixture
def configure(tmp_path):
    """Compose the real configuration as the command line does, with records below a temporary
    folder.
    """

    def compose_in_folder(*overrides: str) -> DictConfig:
        where = [f"results_dir={tmp_path}/runs", "logger=csv", "report=false"]
        # they need no files
        if not any(o.startswith(("dataset=orbits", "experiment=orbits")) for o in overrides):
            where += [f"dataset.cache={DATA}"]
            rootless = ("dataset.run=", "dataset=features", "dataset=molecules", "dataset=images")
            if not any(o.startswith(rootless) for o in overrides):
                where += [f"dataset.root={DATA}"]
        chosen = {o.partition("=")[0] for o in overrides}
        defaults = [o for o in where if o.partition("=")[0] not in chosen]
        return compose_config([*defaults, *overrides])

    return compose_in_folder


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window, which playwright drives."""
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    sync_api = pytest.importorskip("playwright.sync_api", reason="`pip install playwright`")
    if path is None:
        pytest.skip("there is no Chromium here; `apt-get install chromium` brings it")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=[*QUIETLY])
        yield chromium
        chromium.close()
