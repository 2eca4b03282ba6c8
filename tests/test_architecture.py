"""The folders of `gigp/` import one another in one direction only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "gigp"
# each may import what stands further up, and itself; not what stands beside it
LAYERS = [
    {"errors"},
    {"files"},
    {"pointcloud"},
    {"distributed"},
    {"groups", "nn"},
    {"testing"},
    {"pools", "backbones"},
    {"model"},
    {"datasets"},
    {"config"},
    {"training"},
    {"prediction", "study"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def imported(source: str) -> Iterator[str]:
    """The parts of gigp that a file imports at any depth, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("gigp."))


def violations(part: str, source: str) -> set[tuple[str, str]]:
    """Imports of a file in `part` that go against the order."""
    return {(part, other) for other in imported(source) if other != part and not below(other, part)}


def below(other: str, part: str) -> bool:
    return other in RANK and RANK[other] < RANK[part]


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


def test_every_part_has_a_place():
    assert {part_of(path) for path in FILES} == RANK.keys()
    assert len([path for path in PACKAGE.iterdir() if path.is_file()]) <= 8


def test_imports_run_one_way():
    found = {pair for path in FILES for pair in violations(part_of(path), path.read_text())}
    assert found == set()


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("groups", "from gigp.pools.gigp import GIGP"),
        ("pools", "import gigp.backbones.lieconv"),
        ("training", "def f():\n    from gigp.study import tables"),
        ("nn", "from gigp import groups"),
        ("errors", "from gigp.elsewhere import it"),
    ],
)
def test_a_wrong_import_is_found(part, line):
    assert violations(part, line)
