"""Tables of results, differences and claims hold what the records give."""

import numpy as np
import pytest

from gigp.lab.study.baselines import NAMES
from gigp.lab.study.experiments import read_experiments
from gigp.lab.study.records import read_all_samples, samples_path
from gigp.lab.study.tables.claims import (
    CAVEAT,
    HOLDS,
    NOT_SEEN,
    OPEN,
    PRIMARY,
    TOO_COARSE,
    expresses,
    improves,
    is_same,
)
from gigp.lab.study.tables.differences import changes_table, differences, differences_table
from gigp.lab.study.tables.published import published_row, read_published
from gigp.lab.study.tables.results import make_rows, results_table
from gigp.lab.study.tables.table import Table
from tests.conftest import ROOT
from tests.lab.study.synthetic import NUM, write_evidence

EXPERIMENTS = read_experiments()
FITS = {"counts": {"homo": 408.0, "r2": 166.0, "U0": 868.0, "mu": 1.0, "alpha": 2.2}}
SCRATCH = EXPERIMENTS["qm9_scratch"]
POOLS = {"gigp": 90.0, "mean": 100.0, "one_orbit": 95.0}


def scratch_value(cell, target: str) -> float:
    return POOLS[cell.label] + cell.seed


def rows_of(root, experiment, value, **options):
    """Rows of an experiment and its test samples, from files."""
    records = write_evidence(root, experiment, value, **options)
    path = samples_path(root / "results" / "records", experiment.name)
    return make_rows(experiment, records), read_all_samples(path)


def test_results_by_pool_and_target(tmp_path):
    entries, _ = rows_of(tmp_path, SCRATCH, scratch_value)
    table = results_table("qm9_scratch", "Title.", entries, FITS)
    shown = table.shown.set_index("pool")
    assert list(shown.index) == [NAMES["counts"], "`mean`", "`gigp`", "`one_orbit`"]
    assert shown.loc["`gigp`", "homo, meV"] == "92.0 ± 1.6"
    assert shown.loc[NAMES["counts"], "homo, meV"] == "408"
    # it does not beat the fit on atom counts
    assert shown.loc["`gigp`", "mu, D"] == "92.0 ± 1.6 †"
    cell = table.numbers.query("pool == 'gigp' and target == 'homo'").iloc[0]
    assert (cell["mean"], cell["seeds"], cell["asked for"]) == (92, 5, 5)
    assert table.notes[0].startswith("Title. Mean absolute error on 200 test samples")
    assert table.csv().count("\n") == 1 + 3 * 12 + 5


def test_missing_seeds_are_counted(tmp_path):
    entries, _ = rows_of(tmp_path, SCRATCH, scratch_value, only=lambda cell: cell.seed < 2)
    shown = results_table("it", "", entries, {}).shown.set_index("pool")
    assert shown.loc["`gigp` (2 of 5 seeds)", "homo, meV"] == "90.50 ± 0.71"


def test_rows_without_runs_are_listed_above(tmp_path):
    entries, _ = rows_of(tmp_path, SCRATCH, scratch_value, only=lambda c: c.label == "gigp")
    table = results_table("it", "", entries, {})
    assert table.notes[1:] == ["Not run yet: `mean`; `one_orbit`."]
    assert list(table.shown["pool"]) == ["`gigp`"]


def test_no_runs_yet():
    table = results_table("it", "", make_rows(SCRATCH, []), FITS, (), ("homo", "r2"))
    assert list(table.shown.columns) == ["pool", "homo, meV", "r2, bohr^2"]
    assert table.shown.iloc[-1].tolist() == ["`one_orbit`", "not run", "not run"]
    assert "No runs yet." in table.markdown()


def test_validation_chooses_among_what_is_tuned(tmp_path):
    """The learning rate with the lower validation loss, though its test error is higher."""
    experiment = EXPERIMENTS["qm9_outputs"]
    entries, _ = rows_of(tmp_path, experiment, lambda c, t: 1.0 + (c.tuned == ("lr=0.003",)))
    assert {entry.tuned for entry in entries} == {("lr=0.001",)}
    assert "gigp, center=mass, divisor=constant" in [entry.label for entry in entries]
    assert all(entry.summarize("homo").num == 3 for entry in entries)
    only = lambda c: c.tuned == ("lr=0.003",) or c.seed == 0  # noqa: E731
    entries, _ = rows_of(tmp_path, experiment, lambda c, t: 1.0 + len(c.tuned[0]), only=only)
    # one seed of the other rate does not count against three
    assert {entry.tuned for entry in entries} == {("lr=0.003",)}


def test_orbits_have_a_target_a_run_and_a_limit(tmp_path):
    entries, _ = rows_of(tmp_path, EXPERIMENTS["orbits_pools"], lambda c, t: 2.0 + c.seed)
    shown = results_table("orbits", "", entries, {}).shown
    assert shown.iloc[0]["orbit_sums, 1"] == "3.25"
    gigp = shown.set_index("pool").loc["`gigp`"]
    assert gigp["orbit_sums, 1"] == "4.0 ± 1.6"
    assert gigp["parity, 1"] == "3.0 ± 1.0"


def test_differences_are_paired_over_seeds_and_samples(tmp_path):
    entries, samples = rows_of(tmp_path, SCRATCH, scratch_value)
    numbers = differences(entries, samples, ["homo", "mu", "r2"])
    row = numbers.query("minus == 'mean' and target == 'homo'").iloc[0]
    assert row["difference"] == pytest.approx(-10, abs=0.2)
    assert row["percent"] == pytest.approx(-100 * 10 / 102, abs=0.2)
    assert row["low"] < -10 < row["high"] < 0
    assert (row["seeds"], row["samples"], row["verdict"]) == (5, NUM, "lower")
    assert row["p corrected"] == pytest.approx(2 * row["p"])
    assert len(row["by seed"].split()) == 5
    # a control: shown, and not among the tested ones
    assert np.isnan(numbers.query("minus == 'mean' and target == 'r2'").iloc[0]["p corrected"])
    shown = differences_table("it", numbers, ["homo", "mu", "r2"]).shown
    assert list(shown.columns) == ["pool", "minus", "mu, D", "homo, meV", "r2, bohr^2"]
    assert "lower" in shown.iloc[0]["homo, meV"]


def test_a_difference_recomputed_by_hand(tmp_path):
    entries, samples = rows_of(tmp_path, SCRATCH, scratch_value)
    row = differences(entries, samples, []).query("minus == 'one_orbit' and target == 'U0'").iloc[0]
    by_seed = []
    for seed in range(5):
        one, other = (
            np.abs(samples[f"qm9_scratch__{pool}", seed]["error"][:, 7].astype(float))
            for pool in ("gigp", "one_orbit")
        )
        by_seed.append((one - other).mean())
    assert row["difference"] == pytest.approx(np.mean(by_seed))


def test_variants_are_compared_with_plain_gigp(tmp_path):
    entries, samples = rows_of(tmp_path, EXPERIMENTS["qm9_outputs"], lambda c, t: 1.0 + c.seed)
    numbers = differences(entries, samples, ["homo"])
    pairs = set(zip(numbers["pool"], numbers["minus"], strict=True))
    assert ("gigp, center=mass, divisor=constant", "gigp") in pairs
    assert ("gigp, center=mass, divisor=constant", "one_orbit") in pairs
    assert ("gigp", "gigp") not in pairs


def test_rows_are_compared_on_the_same_data(tmp_path):
    """A network that saw fewer molecules says nothing about the pool of one that saw all."""
    entries, samples = rows_of(tmp_path, EXPERIMENTS["qm9_ablation"], lambda c, t: 1.0 + c.seed)
    numbers = differences(entries, samples, ["homo"])
    pairs = set(zip(numbers["pool"], numbers["minus"], strict=True))
    few = "dataset.train_size=3000"
    assert {("gigp", "mean"), (f"gigp, {few}", f"mean, {few}"), ("gigp, delta=1.0", "gigp")} < pairs
    assert not pairs & {
        ("gigp", f"mean, {few}"),
        (f"gigp, {few}", "mean"),
        (f"gigp, {few}", "gigp"),
    }


def test_variants_stand_in_percent_of_gigp(tmp_path):
    def value(cell, target):
        return 110.0 if "delta=1.0" in cell.label else 100.0

    only = lambda c: c.label in ("gigp", "mean", "gigp, delta=0.15", "gigp, delta=1.0")  # noqa: E731
    entries, samples = rows_of(tmp_path, EXPERIMENTS["qm9_ablation"], value, only=only)
    table = changes_table("it", differences(entries, samples, ["homo"]), ["homo", "mu"])
    assert table.shown.to_numpy().tolist() == [
        ["`gigp, delta=0.15`", "+0.0", "+0.0"],
        ["`gigp, delta=1.0`", "+10.0 *", "+10.0 *"],
    ]
    assert list(table.shown.columns) == ["pool", "mu, %", "homo, %"]


def verdict(tmp_path, pools: dict[str, float], beaten=frozenset({"homo", "mu", "alpha", "U0"})):
    entries, samples = rows_of(tmp_path, SCRATCH, lambda c, t: pools[c.label] + c.seed)
    numbers = differences(entries, samples, ["homo", "mu", "alpha", "U0"])
    return improves(numbers, set(beaten))


def test_verdicts_follow_the_differences(tmp_path):
    better = {"gigp": 90.0, "mean": 100.0, "one_orbit": 96.0}
    evidence, said = verdict(tmp_path, better)
    assert said == HOLDS
    assert "lower error than mean pooling on all of mu, alpha, homo, U0" in evidence
    evidence, said = verdict(tmp_path, better | {"one_orbit": 90.0})
    assert said == CAVEAT
    assert evidence.endswith("; than one_orbit on none")
    evidence, _ = verdict(tmp_path, better | {"one_orbit": 80.0})
    assert evidence.endswith("; than one_orbit on none, higher on mu, alpha, homo, U0")
    assert verdict(tmp_path, better | {"gigp": 101.0})[1] == NOT_SEEN
    # targets on which GIGP does not beat the fit on atom counts tell nothing
    assert verdict(tmp_path, better, frozenset())[1] == OPEN
    assert improves(differences([], {}, []), {"homo"})[1] == OPEN


@pytest.mark.parametrize("verdict", ["lower", "higher"])
def test_what_the_correction_leaves_open_is_no_evidence(tmp_path, verdict):
    """An interval without 0 whose corrected p value is above 5%, as of U0 here."""
    entries, samples = rows_of(tmp_path, SCRATCH, scratch_value)
    numbers = differences(entries, samples, PRIMARY).assign(verdict=verdict)
    numbers["p corrected"] = np.where(numbers["target"] == "U0", 0.077, 0.009)
    evidence, _ = improves(numbers, set(PRIMARY))
    assert ("on mu, alpha, homo of" in evidence) == (verdict == "lower")
    assert ("higher on mu, alpha, homo after" in evidence) == (verdict == "higher")


def test_the_verdict_on_digits_is_about_sameness(tmp_path):
    experiment = EXPERIMENTS["rotmnist_features"]

    def found(ours: float, scaled: float = 10.0, **changes: float):
        values = {"gigp": ours, "scaled_sum": scaled}
        entries, samples = rows_of(tmp_path, experiment, lambda c, t: values.get(c.label, 10.0))
        return is_same(differences(entries, samples, ["error"]).assign(**changes), entries)

    evidence, said = found(10.0)
    assert said == HOLDS
    assert "no difference seen" in evidence
    assert "McNemar p by seed: 1 1 1" in evidence
    # no difference seen, but only one of half of the error would have been
    assert found(10.0, **{"detectable percent": 50.0})[1] == TOO_COARSE
    assert found(30.0)[1] == NOT_SEEN
    # on images the scaled sum is the mean: the same training, repeated, gives another error
    assert found(10.0, scaled=10.5)[1] == HOLDS
    evidence, said = found(10.0, scaled=12.5)
    assert said == TOO_COARSE
    assert "are 2.5 points apart for the same seed, 22% of the error" in evidence


def test_the_verdict_on_orbits(tmp_path):
    experiment = EXPERIMENTS["orbits_pools"]

    def of(**errors: float):
        value = lambda c, t: errors.get(c.label, 4.0)  # noqa: E731
        return expresses(rows_of(tmp_path, experiment, value)[0])[1]

    assert of(gigp=0.1) == HOLDS
    assert of(gigp=0.1, radial_deepsets_rho=0.2) == CAVEAT
    assert of(gigp=3.5) == NOT_SEEN
    assert expresses(make_rows(experiment, []))[1] == OPEN


def test_published_figures_stand_beside():
    published = read_published(ROOT / "results" / "published.yaml")
    row = published_row(published, "qm9", "T(3)", ["homo, meV", "zpve, meV", "other, 1"])
    assert list(row.values())[1:] == ["30", "2.280", "—"]
    assert "not run here" in row["pool"]


def test_latex_escapes(tmp_path):
    entries, _ = rows_of(tmp_path, SCRATCH, scratch_value)
    text = results_table("it", "50% of `x_y`.", entries, {}).latex()
    assert r"50\% of x\_y." in text
    assert r"\toprule" in text
    assert r"one\_orbit" in text


def test_a_table_without_rows():
    import pandas as pd

    assert "No records yet." in Table("it", ["Note."], pd.DataFrame()).markdown()
