"""What is pinned is what the project needs, no less and no more, and who asks for it stands
beside.
"""

import re
import tomllib
from importlib.metadata import distributions, requires, version

from packaging.requirements import Requirement

from tests.conftest import ROOT

# it brings its own CUDA libraries, and pins them itself
OF_TORCH = ("nvidia-", "cuda-", "triton", "setuptools")


def name_of(text: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", text).lower()


def pinned() -> dict[str, tuple[str, set[str]]]:
    """Versions in requirements.txt, and who asks for them."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    found = [
        re.fullmatch(r"(\S+)==(\S+) +# (.+)", line).groups()
        for line in lines
        if not line.startswith("#")
    ]
    return {name_of(name): (number, set(askers.split(", "))) for name, number, askers in found}


def asked_for(anywhere: bool) -> dict[str, set[str]]:
    """Every package that pyproject.toml asks for, directly or through others: here, or on any
    Python and system.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    todo = [(Requirement(line), "gigp") for line in project["dependencies"]]
    todo += [(Requirement(line), "tests") for line in project["optional-dependencies"]["dev"]]
    found, seen = {}, set()
    while todo:
        it, by = todo.pop()
        found.setdefault(name_of(it.name), set()).add(by)
        if (it.name, *sorted(it.extras)) in seen or not any(distributions(name=it.name)):
            continue
        seen.add((it.name, *sorted(it.extras)))
        for further in map(Requirement, requires(it.name) or ()):
            here = not further.marker or any(
                further.marker.evaluate({"extra": e}) for e in ("", *it.extras)
            )
            if here or (anywhere and "extra" not in str(further.marker)):
                todo.append((further, name_of(it.name)))
    return found


def test_all_that_is_asked_for_is_pinned():
    needed = {name for name in asked_for(anywhere=False) if not name.startswith(OF_TORCH)}
    # the last one by others alone
    assert {"torch", "submitit", "hydra-joblib-launcher", "cloudpickle"} <= needed
    assert needed <= set(pinned())


def test_every_pin_is_asked_for_by_those_beside_it():
    anywhere = asked_for(anywhere=True)
    unfounded = {name: by - anywhere.get(name, set()) for name, (_, by) in pinned().items()}
    assert {name: by for name, by in unfounded.items() if by} == {}


def test_versions_installed_are_those_pinned():
    assert {name: version(name) for name in pinned()} == {
        name: number for name, (number, _) in pinned().items()
    }
