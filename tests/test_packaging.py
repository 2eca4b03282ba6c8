"""The wheel: what it brings, what works without the extras, and training outside a checkout.

Nothing is downloaded. The bare environment gets links to torch, numpy and what they require, taken
from the environment of the tests; the full one has the whole of that environment on its path.
"""

import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def execute(python: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Python with these arguments, without the checkout on its path."""
    return subprocess.run([python, *arguments], cwd=cwd, capture_output=True, text=True, env={})


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = "pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir"
    subprocess.run([sys.executable, "-m", *command.split(), str(out), str(ROOT)], check=True)
    (found,) = out.glob("*.whl")
    return found


def install(wheel: Path, folder: Path, packages: list[Path]) -> Path:
    """A virtual environment with links to these files and folders, and the wheel installed by pip,
    which refuses if a requirement is missing.
    """
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    show = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(execute(python, "-c", show, cwd=folder).stdout.strip())
    for path in packages:
        (site / path.name).symlink_to(path)
    command = [sys.executable, "-m", "pip", "--quiet", "--python", str(python)]
    subprocess.run([*command, "install", "--no-index", str(wheel)], check=True)
    return python


def closure(*names: str) -> set[str]:
    """These packages and all that they require here."""
    todo, found = list(names), set()
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            needed = [Requirement(line) for line in requires(name) or ()]
            for it in needed:
                if not it.marker or any(it.marker.evaluate({"extra": e}) for e in ("", *it.extras)):
                    todo += [it.name, *extras_of(it)]
    return found


def extras_of(requirement: Requirement) -> list[str]:
    """What the extras of a requirement bring."""
    lines = [Requirement(line) for line in requires(requirement.name) or ()]
    return [
        line.name
        for line in lines
        for extra in requirement.extras
        if line.marker and line.marker.evaluate({"extra": extra})
    ]


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory) -> Path:
    """Python of an environment with the wheel, torch and numpy."""
    return install(wheel, tmp_path_factory.mktemp("bare"), files_of("torch", "numpy"))


def files_of(*names: str) -> list[Path]:
    """Files and folders of these packages and all that they require, without duplicates."""
    packages = set()
    for name in closure(*names):
        found = distribution(name)
        tops = {
            file.parts[0]
            for file in found.files or ()
            if file.parts[0] not in ("..", "__pycache__")
        }
        packages |= {Path(str(found.locate_file(top))) for top in tops}
    return sorted(packages)


@pytest.fixture(scope="module")
def predicting(wheel, tmp_path_factory) -> Path:
    """Python of an environment with the wheel and what its extra `predict` brings."""
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    needed = [Requirement(line).name for line in extra["predict"]]
    return install(wheel, tmp_path_factory.mktemp("predict"), files_of("torch", "numpy", *needed))


@pytest.fixture(scope="module")
def full(wheel, tmp_path_factory) -> Path:
    """Python of an environment with the wheel and every package of this one."""
    folder = tmp_path_factory.mktemp("full")
    path = folder / "packages.pth"
    path.write_text(str(distribution("torch").locate_file("")))
    return install(wheel, folder, [path])


LAYER = """
import sys, torch, gigp.testing
from gigp import GIGP, PointCloud
from gigp.groups import SO3, T
from gigp.backbones.lieconv.net import LieResNet
from gigp.lab.model import PointCloudModel

pos, mask = torch.randn(2, 9, 3), torch.ones(2, 9, dtype=torch.bool)
pool = GIGP(channels=4, group=SO3(), orbits=5)
net = LieResNet(4, T(3), width=8, blocks=1)
cloud = PointCloud(pos, torch.randn(2, 9, 4), mask)
model = PointCloudModel(net, pool, out_channels=4)
model.calibrate([cloud])
assert model(cloud).shape == (2, 4)
feat = torch.randn(2, 9, 4).double()
gigp.testing.assert_invariant(lambda pos: pool.double()(feat, pos, mask), SO3(), pos)
third = {"torch_geometric", "lightning", "hydra", "pandas", "scipy"} & set(sys.modules)
assert not third, third
"""


def test_the_layer_works_with_torch_and_numpy(bare, tmp_path):
    done = execute(bare, "-W", "error", "-c", LAYER, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("line", "package", "extra"),
    [
        ("from gigp import GIGPAggregation", "torch_geometric", "pyg"),
        ("import gigp.pools.pyg", "torch_geometric", "pyg"),
        ("import gigp.backbones.invariant", "torch_geometric", "pyg"),
        ("import gigp.backbones.dimenet", "torch_geometric", "pyg"),
        ("import gigp.lab.molecules.qm9", "omegaconf", "predict"),
        ("import gigp.lab.config.compose", "hydra", "train"),
        ("import gigp.lab.training.run", "(yaml|lightning)", "train"),
        ("import gigp.lab.prediction", "omegaconf", "predict"),
        ("import gigp.lab.study.tables", "pandas", "study"),
    ],
)
def test_a_missing_extra_is_named(bare, tmp_path, line, package, extra):
    done = execute(bare, "-c", line, cwd=tmp_path)
    said = rf"the package {package} is missing; install gigp with its extra '{extra}': `pip install"
    assert re.search(said, done.stderr), done.stderr


@pytest.mark.parametrize(
    "program", ["gigp-train", "gigp-predict", "gigp-explain", "gigp-report", "gigp-compare"]
)
def test_a_missing_extra_ends_the_programs_in_one_sentence(bare, tmp_path, program):
    inputs = ("run=nowhere", "input=nowhere")
    arguments = {"gigp-compare": (), "gigp-report": ("nowhere",)}.get(program, inputs)
    done = command(bare, program, *arguments, cwd=tmp_path)
    status = 1 if program in ("gigp-compare", "gigp-report") else 2
    assert (done.returncode, done.stderr.count("\n")) == (status, 1)
    assert done.stderr.startswith("Error: the package ")


def command(python: Path, program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """A command that the wheel has brought."""
    return execute(python, str(python.with_name(program)), *arguments, cwd=cwd)


def test_what_the_wheel_holds(wheel):
    """Two models, the configurations, the license; 6 MB at most."""
    assert wheel.stat().st_size < 6e6
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(n).decode() for n in names if n.endswith(".dist-info/METADATA"))
    models = {name.split("/")[3] for name in names if name.startswith("gigp/lab/models/")}
    assert models == {"qm9", "rotmnist"}
    assert "gigp/lab/configs/config.yaml" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    header, _, readme = metadata.partition("\n\n")
    for key in (
        "Author: ",
        "Keywords: ",
        "Classifier: ",
        "Project-URL: ",
        "License-Expression: MIT",
    ):
        assert f"\n{key}" in header
    assert "# gigp" in readme
    targets = re.findall(r"\]\(([^)]+)\)", readme)
    assert targets
    assert all(target.startswith("https://") for target in targets), targets


def test_a_package_index_takes_the_wheel(wheel):
    pytest.importorskip("twine", reason="twine is not installed")
    check = [sys.executable, "-m", "twine", "check", "--strict", str(wheel)]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


WATER = "3\n\nO 0 0 0.119\nH 0 0.763 -0.477\nH 0 -0.763 -0.477\n"


def test_the_extra_predict_suffices_to_predict(predicting, tmp_path):
    (tmp_path / "water.xyz").write_text(WATER)
    done = command(predicting, "gigp-predict", "input=water.xyz", "output=o.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = command(predicting, "gigp-explain", "water.xyz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "<canvas" in (tmp_path / "water.html").read_text()
    code = "import gigp, sys; gigp.load('rotmnist'); sys.exit('hydra' in sys.modules)"
    done = execute(predicting, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = command(predicting, "gigp-train", "dataset=orbits", cwd=tmp_path)
    assert done.stderr.startswith("Error: the package ")
    assert "its extra 'train'" in done.stderr


def test_commands_work_in_an_empty_folder(full, tmp_path):
    """Train two pools, compare them, and predict; nothing else is there."""
    settings = ("dataset=orbits", "scale=debug", "logger=csv", "trainer.max_epochs=1")
    done = command(full, "gigp-train", "-m", *settings, "pool=mean,gigp", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = command(full, "gigp-compare", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "gigp" in done.stdout
    (tmp_path / "water.xyz").write_text(WATER)
    done = command(full, "gigp-predict", "input=water.xyz", "output=out.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "homo" in (tmp_path / "out.csv").read_text()
    done = execute(full, "-m", "gigp", cwd=tmp_path)
    assert all(
        f"gigp-{name}" in done.stdout
        for name in ("train", "predict", "explain", "report", "compare")
    )


TRAIN = """
import gigp
from gigp.lab.config.compose import compose_config
from gigp.lab.study.experiments import read_experiments
from gigp.lab.study.figures import style
from gigp.lab.training.run import run

assert "site-packages" in gigp.__file__
assert "orbits_pools" in read_experiments()
try:
    gigp.load("no such model")
except ValueError as error:
    assert "site-packages/gigp/lab/models" in str(error) or "Models here: " in str(error), error
summary = run(compose_config(["dataset=orbits", "scale=debug", "logger=csv"]))
assert summary.metrics["orbit_sums"].test > 0
"""


def test_a_wheel_trains_outside_the_checkout(full, tmp_path):
    done = execute(full, "-c", TRAIN, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("results/runs/*/seed0/checkpoints/best.ckpt"))) == 1
