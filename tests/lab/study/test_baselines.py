"""The baselines by least squares, against figures that were computed in other code."""

from pathlib import Path

import pytest
import torch

from gigp.lab.data.targets import TARGETS
from gigp.lab.molecules.baselines import SHELLS, WIDEST, descriptors
from gigp.lab.study.baselines import baseline_errors
from tests.conftest import DATA

# test MAE on all 13,083 molecules of the cormorant split, in the order of TARGETS
REFERENCE = {
    ("counts", 5000): [0.989, 2.19, 409, 769, 815, 167, 38.2, 867, 867, 867, 871, 1.74],
    ("moments", 5000): [0.949, 1.50, 356, 730, 755, 2.31, 32.0, 860, 860, 860, 861, 1.42],
    ("shells", None): [0.927, 1.30, 346, 684, 696, 2.24, 27.0, 783, 783, 783, 783, 1.12],
}


@pytest.mark.parametrize(
    "case",
    [
        case if case[0] == "moments" else pytest.param(case, marks=pytest.mark.slow)
        for case in REFERENCE
    ],
)
def test_errors_are_those_of_other_code(qm9, case):
    name, size = case
    errors = baseline_errors(Path(DATA), size, (name,))[name]
    assert list(errors) == list(TARGETS)
    assert list(errors.values()) == pytest.approx(REFERENCE[case], rel=5e-3)


def test_descriptors_of_one_molecule_by_hand(qm9):
    known = {name: values[100] for name, values in descriptors(qm9).items()}
    mask = qm9.mask[100]
    charges, pos = qm9.charges[100][mask].tolist(), qm9.positions[100][mask].double()
    mass = {1: 1.008, 6: 12.011, 7: 14.007, 8: 15.999, 9: 18.998}
    weights = torch.tensor([mass[z] for z in charges], dtype=torch.double)
    radius = (pos - (weights[:, None] * pos).sum(0) / weights.sum()).norm(dim=1).tolist()
    for i, z in enumerate(mass):
        own = [r for r, charge in zip(radius, charges, strict=True) if charge == z]
        assert known["counts"][i] == len(own)
        assert float(known["moments"][5 + i]) == pytest.approx(sum(r * r for r in own), rel=1e-4)
        spacing = WIDEST / (SHELLS - 1)
        hats = [sum(max(0, 1 - abs(r / spacing - k)) for r in own) for k in range(SHELLS)]
        ours = known["shells"][5 + SHELLS * i : 5 + SHELLS * (i + 1)].tolist()
        assert ours == pytest.approx(hats, abs=1e-4)
    assert [len(values) for values in known.values()] == [6, 11, 131]
