"""Inputs of public reports, where they lie beside the checkout: refused, or right."""

import csv
import io

import pytest

from gigp.lab.prediction import predict
from tests.conftest import ROOT

CASES = ROOT.parent / "shared" / "cases"
SECOND = {  # what the errors of a file say; nothing where all is predicted
    "01_atom_block_charge.sdf": "neutral molecules only",
    "02_odd_electrons.xyz": "electrons is odd",
    "03_charge_capital_key.xyz": "neutral molecules only",
    "03b_charge_mult_comment.xyz": "neutral molecules only",
    "03f_pubchem_total_charge.sdf": "PUBCHEM_TOTAL_CHARGE",
    "04_triplet.extxyz": "multiplicity 3",
    "05_bohr.xyz": "",
    "05c_bohr_stated.extxyz": "",
    "06_wrapped_box.extxyz": "cuts bonds",
    "07_polar_h_only.sdf": "electrons is odd",
    "13_no_stamp_blank_title.mol": "",
    "17_methane.xyz.gz": "",
    "18_atomic_number.csv": "",
    "19_blank_in_field.sdf": "",
    "26_frames_one_name.csv": "falls into parts",
    "27_single_atoms.xyz": "far outside",
    "29_positions_key.extxyz": "",
}


@pytest.mark.skipif(not CASES.exists(), reason="the inputs of public reports are not here")
def test_every_input_is_refused_or_right():
    for name, message in SECOND.items():
        table, entries = predict("qm9", CASES / "second" / name)
        errors = [entry.error for entry in entries]
        assert any(message in error for error in errors) if message else not any(errors), name
        homos = [row["homo [meV]"] for row in csv.DictReader(io.StringIO(table))]
        assert [bool(homo) for homo in homos] == [not error for error in errors]
        assert all(-12_000 < float(homo) < -5_000 for homo in homos if homo), name
