"""A folder with the texts and records that are committed, to make tables in."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    """What is committed of README, docs and results, as it lies in the work tree."""
    names = ["README.md", "docs", "results"]
    done = subprocess.run(
        ["git", "ls-files", *names], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in done.stdout.splitlines():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def blank(committed: Path) -> Path:
    """The same without any records."""
    shutil.rmtree(committed / "results" / "records")
    return committed
