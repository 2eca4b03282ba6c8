"""requirements.txt pins all packages of pyproject.toml, with hashes, and they are installed."""

import re
import tomllib
from importlib.metadata import requires, version

from packaging.requirements import Requirement

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENTRIES = re.split(r"\n(?=\w)", (ROOT / "requirements.txt").read_text())[1:]
PINS = [Requirement(re.split(r" ?\\\n", entry)[0]) for entry in ENTRIES]
HERE = [pin for pin in PINS if pin.marker is None or pin.marker.evaluate()]


def name_of(text: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", text).lower()


def asked_for() -> set[str]:
    """Every package that pyproject.toml asks for on this machine, directly or through others."""
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    todo = [Requirement(line) for line in [*PROJECT["dependencies"], *extras]]
    found, seen = set(), set()
    while todo:
        it = todo.pop()
        if it.name == "gigp" or str(it) in seen:
            continue
        seen.add(str(it))
        found.add(name_of(it.name))
        for further in map(Requirement, requires(it.name) or ()):
            marker = further.marker
            if not marker or any(marker.evaluate({"extra": e}) for e in ("", *it.extras)):
                todo.append(further)
    return found


def test_all_that_is_asked_for_is_pinned_and_nothing_else():
    assert asked_for() == {name_of(pin.name) for pin in HERE}


def test_every_pin_is_one_version_with_hashes():
    for pin, entry in zip(PINS, ENTRIES, strict=True):
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), pin
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), pin


def test_versions_installed_are_those_pinned():
    pinned = {pin.name: str(pin.specifier).removeprefix("==") for pin in HERE}
    assert {name: version(name) for name in pinned} == pinned


def test_the_layer_needs_torch_and_numpy_alone():
    assert {Requirement(line).name for line in PROJECT["dependencies"]} == {"torch", "numpy"}
