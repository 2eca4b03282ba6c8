"""The table of QM9's targets: units, kinds, references, and names that are none."""

import pytest

from gigp.errors import InputError
from gigp.lab.data.targets import TARGETS, parse_targets

NAMES = ["mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "U0", "U", "H", "G", "Cv"]


def test_targets_table():
    assert list(TARGETS) == NAMES
    assert {t.name for t in TARGETS.values() if t.referenced} == {"zpve", "U0", "U", "H", "G", "Cv"}
    for target in TARGETS.values():
        assert (target.unit, target.factor) == (
            ("meV", 1000.0) if target.internal == "eV" else (target.internal, 1.0)
        )
    assert {t.name for t in TARGETS.values() if t.kind == "intensive"} == {
        "mu",
        "homo",
        "lumo",
        "gap",
    }
    assert TARGETS["zpve"].unit == TARGETS["homo"].unit == "meV"  # one unit for all energies


def test_one_several_or_all():
    assert [t.name for t in parse_targets("r2")] == ["r2"]
    assert [t.name for t in parse_targets(["lumo", "homo"])] == ["lumo", "homo"]
    assert [t.name for t in parse_targets("all")] == NAMES


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("hommo", "Did you mean homo"),
        ("energy", "mu, alpha, homo, lumo, gap, r2, zpve, U0, U, H, G, Cv"),
        (["homo", "homo"], "different"),
        ([], "name one target"),
    ],
)
def test_bad_targets(names, message):
    with pytest.raises(InputError, match=message):
        parse_targets(names)
