"""A folder with the texts and records that are committed, to make tables in; and all tables and
figures that they give.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from gigp.lab.molecules.baselines import molecule_errors
from gigp.lab.study.figures.drawings import draw_figures
from gigp.lab.study.report import make, make_tables, read_evidence
from tests.conftest import DATA, ROOT


@pytest.fixture(scope="session")
def made(qm9) -> dict[Path, str]:
    """Every generated file with its text, as `make tables` makes them from what is committed."""
    evidence = read_evidence(ROOT, Path(DATA), molecule_errors(qm9))
    tables = make_tables(evidence)
    return make(ROOT, evidence, tables, draw_figures(evidence, tables, qm9))


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
