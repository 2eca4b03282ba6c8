"""The plan of the package: a library on the ground floor, the laboratory above it, and imports in
one direction only.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "gigp"
# each may import what stands further up, and itself; not what stands beside it
LIBRARY = [
    {"errors"},
    {"pointcloud"},
    {"distributed"},
    {"groups", "nn"},
    {"testing"},
    {"pools", "backbones"},
]
LAB = [
    {"lab.files", "lab.progress", "lab.web"},
    {"lab.comparison", "lab.hashing", "lab.lightning_bases", "lab.model"},
    {"lab.data", "lab.config"},
    {"lab.molecules", "lab.images"},
    {"lab.runs"},
    {"lab.report"},
    {"lab.training"},
    {"lab.prediction", "lab.study"},
    {"lab.commands"},
]
RANK = {name: rank for rank, names in enumerate([*LIBRARY, *LAB]) for name in names}
LAZY = {
    "compare_pools",
    "load",
}  # names of the library's `__init__` that reach the laboratory, at first use alone
MOST_FILES = 16  # in one folder


def part_of(name: str) -> str:
    """`pools` of gigp.pools.base, `lab.runs` of gigp.lab.runs.lock."""
    parts = name.split(".")[1:]
    return ".".join(parts[:2] if parts[0] == "lab" else parts[:1])


def imported(source: str) -> Iterator[str]:
    """The parts of gigp that a file imports at any depth, in functions and for types too."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (part_of(name) for name in names if name.startswith("gigp."))


def violations(part: str, source: str) -> set[tuple[str, str]]:
    """Imports of a file in `part` that go against the order."""
    return {(part, other) for other in imported(source) if other != part and not below(other, part)}


def below(other: str, part: str) -> bool:
    return other in RANK and RANK[other] < RANK[part]


def part_of_file(path: Path) -> str:
    return part_of(".".join(path.relative_to(ROOT).with_suffix("").parts))


DOORS = {PACKAGE / "__init__.py", PACKAGE / "__main__.py", PACKAGE / "lab" / "__init__.py"}
FILES = [path for path in PACKAGE.rglob("*.py") if path not in DOORS]


def test_every_part_has_a_place():
    assert {part_of_file(path) for path in FILES} == RANK.keys()


def test_imports_run_one_way():
    found = {pair for path in FILES for pair in violations(part_of_file(path), path.read_text())}
    assert found == set()


def test_one_name_of_the_library_reaches_the_laboratory():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = {alias.name for node in imports for alias in node.names if "gigp.lab" in node.module}
    assert names == LAZY
    assert not list(imported((PACKAGE / "lab" / "__init__.py").read_text()))


def loaded_by(module: str, seen: set[str]) -> set[str]:
    """Packages of others that importing a module of gigp loads, those of functions left out."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if module in seen or not path.is_file():
        return set()
    seen.add(module)
    packages = loaded_by(module.rpartition(".")[0], seen) if "." in module else set()
    todo = list(ast.parse(path.read_text()).body)
    while todo:
        node = todo.pop()
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.With | ast.Try):
            todo += node.body
        for name in names:
            own = name.partition(".")[0] == "gigp"
            packages |= loaded_by(name, seen) if own else {name.partition(".")[0]}
    return packages


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("gigp", None),
        ("gigp.testing", None),
        ("gigp.lab.commands.predict", "predict"),
        ("gigp.lab.commands.explain", "predict"),
        ("gigp.lab.prediction.explain", "predict"),
    ],
)
def test_a_program_loads_what_its_extra_brings(module, extra):
    """The rest is imported in functions that the program may do without."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(project["optional-dependencies"][extra] if extra else ())]
    brought = {re.split(r"[^\w-]", line)[0] for line in lines}
    imported_as = {"pillow": "PIL", "pyyaml": "yaml"}
    allowed = {imported_as.get(name, name) for name in brought} | sys.stdlib_module_names
    assert loaded_by(module, set()) - allowed == set()
    assert "lightning" in loaded_by("gigp.lab.training.trainer", set()) - allowed


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        ("gigp.lab.commands.train_run", {"torch", "lightning", "pandas", "scipy"}),  # --help, typos
        ("gigp.lab.commands.predict", {"lightning", "torchmetrics", "torch_geometric", "pandas"}),
        ("gigp.lab.commands.explain", {"torch", "lightning", "pandas", "jinja2"}),
        ("gigp.lab.commands.report", {"torch", "lightning", "matplotlib", "jinja2"}),
        ("gigp.lab.training.run", {"matplotlib"}),
        ("gigp.lab.prediction", {"lightning", "torchmetrics", "torch_geometric", "pandas"}),
    ],
)
def test_a_program_answers_at_once(module, slow):
    """What takes seconds to load is imported where it is needed."""
    assert loaded_by(module, set()) & slow == set()


def test_no_folder_is_crowded():
    folders = {path.parent for path in FILES}
    crowded = {folder: len(list(folder.glob("*.*"))) for folder in folders}
    assert {folder: files for folder, files in crowded.items() if files > MOST_FILES} == {}


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("groups", "from gigp.pools.gigp import GIGP"),
        ("pools", "import gigp.backbones.lieconv"),
        ("pools", "if TYPE_CHECKING:\n    from gigp.lab.runs.record import Record"),
        ("backbones", "from gigp import lab"),
        ("lab.training", "def f():\n    from gigp.lab.study import tables"),
        ("lab.molecules", "from gigp.lab.images.clouds import ImageClouds"),
        ("nn", "from gigp import groups"),
        ("errors", "from gigp.elsewhere import it"),
    ],
)
def test_a_wrong_import_is_found(part, line):
    assert violations(part, line)
