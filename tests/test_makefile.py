"""`make` sets the environment up whole, also after it was interrupted."""

import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(tmp_path) -> Path:
    """What the environment is made from, without packages that would have to be downloaded."""
    for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for folder in ("gigp", "configs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "gigp" / "__init__.py").touch()
    (tmp_path / "requirements.txt").touch()
    return tmp_path


def start_make(checkout: Path) -> subprocess.Popen[str]:
    # the build backend comes from the environment of the tests
    env = {**os.environ, "PYTHONPATH": str(distribution("hatchling").locate_file(""))}
    command = ["make", f"PYTHON={sys.executable}", ".venv/ready"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(
        command, cwd=checkout, env=env, text=True, start_new_session=True, **pipes
    )


def is_whole(checkout: Path) -> bool:
    """Whether the environment has pip and the package, without help from this one."""
    command = [checkout / ".venv" / "bin" / "python", "-c", "import pip._internal.cli.main, gigp"]
    return subprocess.run(command, cwd="/", env={}).returncode == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_installation_starts_over(checkout, how):
    for seconds in (0.2, 1.0, 2.5):
        make = start_make(checkout)
        time.sleep(seconds)
        os.killpg(make.pid, how)
        make.communicate()
    make = start_make(checkout)
    out, _ = make.communicate()
    assert make.returncode == 0, out
    assert is_whole(checkout)
    assert not (checkout / ".venv.unfinished").exists()


def test_an_installation_at_work_is_left_alone(checkout):
    (checkout / ".venv.unfinished").write_text(str(os.getpid()))
    (checkout / ".venv").mkdir()
    out, _ = start_make(checkout).communicate()
    assert f"Process {os.getpid()} is installing .venv; wait for it." in out
    assert (checkout / ".venv").exists()
