"""The names of the package."""

import re
import subprocess
import sys
from importlib.metadata import version

import yaml

import gigp
from tests.conftest import ROOT


def test_public_names_are_listed_and_there():
    assert dir(gigp) == sorted(gigp.__all__)
    assert all(getattr(gigp, name) for name in dir(gigp))


def test_version():
    assert gigp.__version__ == version("gigp")
    assert re.match(r"\d+\.\d+\.\d+$", gigp.__version__)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    released = f"## [{citation['version']}] - {citation['date-released']}"
    assert citation["version"] == gigp.__version__
    assert released in (ROOT / "CHANGELOG.md").read_text()


def test_importing_the_layer_brings_torch_alone():
    code = (
        "import sys, gigp\nassert 'torch' not in sys.modules, 'import gigp'\n"
        "from gigp import GIGP, LieResNet, PointCloud\n"
        "more = {'torch_geometric', 'lightning', 'hydra', 'pandas', 'scipy', 'wandb'}\n"
        "assert not more & set(sys.modules), more & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
