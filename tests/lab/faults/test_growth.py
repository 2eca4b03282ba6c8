"""The time to read a file grows as its size does, whatever is in it."""

import time
from contextlib import suppress
from types import SimpleNamespace

import pytest

from gigp.errors import InputError
from gigp.lab.data.entries import read_entries
from gigp.lab.molecules.labels import find_names
from gigp.lab.molecules.readers import MOLECULE_READERS
from gigp.lab.molecules.readers.comment import parse_comment
from gigp.lab.molecules.readers.electrons import parse_charge, read_statement
from gigp.lab.molecules.readers.table import UNIT
from tests.lab.molecules.readers.molecules import ATOMS, HEADER, SDF, V3000

UNSTAMPED = f"{HEADER.replace(' V2000', '')}{ATOMS}M  END\n"
CONTINUED = V3000.replace("M  V30 0.1173 0\n", "{}M  V30 0.1173 0\n")
TEXTS = {  # file, a text of n parts, and n for some hundredths of a second
    "brackets": ("a.sdf", lambda n: f"{SDF}>{'<' * n}\n1\n", 10_000),
    "continued": ("a.sdf", lambda n: CONTINUED.format("M  V30 -\n" * n), 2000),
    "long continued": ("a.sdf", lambda n: CONTINUED.format(f"M  V30 {'x' * 70}-\n" * n), 2000),
    "records without stamps": ("a.sdf", lambda n: UNSTAMPED * n, 20),
    "quoted": ("a.xyz", lambda n: f'1\n"{"x" * n}"\nH 0 0 0\n', 20_000),
    "columns": ("a.csv", lambda n: "molecule,element,x,y,z" + "," * n + "\na" * n, 3000),
}
CALLS = {
    "spaces of a charge": (lambda n: read_statement(f"charge{' ' * n}x", 1), 8000),
    "spaces of a spin": (lambda n: read_statement(f"spin{' ' * n}x", 1), 8000),
    "signs": (lambda n: parse_charge("+" * n + "x"), 8000),
    "digits": (lambda n: parse_charge("1" * n + "x"), 8000),
    "spaces of a unit": (lambda n: UNIT.fullmatch(f"x{' ' * n}a b"), 4000),
    "quotes": (lambda n: parse_comment('"' + "x" * n), 30_000),
    "equal names": (lambda n: _names([*map(str, range(n)), "a", "a"]), 1000),
}


def _names(names: list[str]) -> None:
    entries = [SimpleNamespace(content=None, name=name, file="a.sdf") for name in names]
    with pytest.raises(InputError, match="two molecules are called 'a'"):
        find_names(entries, {})


def seconds(call, n: int) -> float:
    """Least time of three calls."""
    times = []
    for _ in range(3):
        start = time.process_time()
        call(n)
        times.append(time.process_time() - start)
    return min(times)


def assert_linear(call, n: int) -> None:
    """Sixteen times as much takes less than sixty times as long; squares take 256 times."""
    few, many = seconds(call, n), seconds(call, 16 * n)
    assert many < 60 * few + 0.03, f"{few:.4f} s, then {many:.4f} s"


@pytest.mark.parametrize("kind", TEXTS)
def test_files(tmp_path, kind):
    name, make, n = TEXTS[kind]

    def read(n: int) -> None:
        with suppress(InputError):  # so many columns are refused
            read_entries(path, MOLECULE_READERS)

    path = tmp_path / name
    times = []
    for size in (n, 16 * n):
        path.write_text(make(size))
        times.append(seconds(read, size))
    assert times[1] < 60 * times[0] + 0.03, times


@pytest.mark.parametrize("kind", CALLS)
def test_calls(kind):
    assert_linear(*CALLS[kind])
