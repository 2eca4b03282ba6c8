"""Tables of results, differences and claims hold what the records give."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from gigp.lab.molecules.baselines import NAMES
from gigp.lab.study.experiments import read_experiments
from gigp.lab.study.records import read_all_samples
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
from gigp.lab.study.tables.front_page import advice
from gigp.lab.study.tables.missing import missing_table
from gigp.lab.study.tables.noise import noise_table
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
    samples = read_all_samples(root / "results" / "records", experiment.name)
    return make_rows(experiment, records), samples


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
    # the first seed chooses, whatever the others would
    value = lambda c, t: 1.0 + (c.tuned == ("lr=0.003",)) * (0.1 if c.seed == 0 else -0.5)  # noqa: E731
    entries, _ = rows_of(tmp_path, experiment, value)
    assert {entry.tuned for entry in entries} == {("lr=0.001",)}


def test_orbits_have_a_target_a_run_and_a_limit(tmp_path):
    entries, _ = rows_of(tmp_path, EXPERIMENTS["orbits_pools"], lambda c, t: 2.0 + c.seed)
    shown = results_table("orbits", "", entries, {}).shown
    assert shown.iloc[0]["orbit_sums, 1"] == "3.25"
    gigp = shown.set_index("pool").loc["`gigp`"]
    assert gigp["orbit_sums, 1"] == "4.0 ± 1.6"
    assert gigp["parity, 1"] == "3.0 ± 1.0"


def test_differences_are_paired_over_seeds(tmp_path):
    def value(cell, target: str) -> float:
        return scratch_value(cell, target) + 0.1 * cell.seed * (cell.label == "gigp")

    entries, samples = rows_of(tmp_path, SCRATCH, value)
    numbers = differences(entries, samples, ["homo", "mu", "r2"])
    row = numbers.query("minus == 'mean' and target == 'homo'").iloc[0]
    by_seed = -10 + 0.1 * np.arange(5)
    assert row["difference"] == pytest.approx(-9.8)
    assert row["percent"] == pytest.approx(-100 * 9.8 / 102)
    found = stats.t.interval(0.95, 4, -9.8, stats.sem(by_seed))
    assert (row["low"], row["high"]) == pytest.approx(found)
    assert (row["seeds"], row["samples"], row["verdict"]) == (5, NUM, "lower")
    assert row["p corrected"] == pytest.approx(2 * row["p"])
    assert len(row["by seed"].split()) == 5
    # a control: shown, and not among the tested ones
    assert np.isnan(numbers.query("minus == 'mean' and target == 'r2'").iloc[0]["p corrected"])
    shown = differences_table("it", numbers, ["homo", "mu", "r2"]).shown
    assert list(shown.columns) == ["pool", "minus", "mu, D", "homo, meV", "r2, bohr^2"]
    assert "lower" in shown.iloc[0]["homo, meV"]


def test_the_share_of_the_samples_by_hand(tmp_path):
    """It alone is made from errors of single samples, of some and of the first seed."""
    entries, samples = rows_of(tmp_path, SCRATCH, scratch_value)
    every = [differences(entries, some, []) for some in (samples, {})]
    found, without = (n.query("minus == 'one_orbit' and target == 'U0'").iloc[0] for n in every)
    one, other = (
        np.abs(samples[f"qm9_scratch__{pool}", 0]["error"][:, 7].astype(float))
        for pool in ("gigp", "one_orbit")
    )
    error = (one - other).std(ddof=1) / np.sqrt(NUM)
    assert found["of samples"] == pytest.approx(1.959964 * error)
    assert np.isnan(without["of samples"])
    assert found["difference"] == without["difference"] == -5  # from the records


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


PLAIN = {"gigp": 90.0, "mean": 100.0, "one_orbit": 96.0}
ALL = frozenset(PRIMARY)


def finding(tmp_path, pools: dict[str, float], beaten=ALL, noise: float = 0.0, seeds: int = 5):
    """Of protocol S, with results that differ between the seeds of GIGP by `noise`."""
    rng = np.random.default_rng(0)

    def value(cell, target: str) -> float:
        own = noise * rng.standard_normal() if cell.label == "gigp" else 0.0
        return pools[cell.label] + cell.seed + own

    entries, samples = rows_of(tmp_path, SCRATCH, value, only=lambda cell: cell.seed < seeds)
    return improves(differences(entries, samples, PRIMARY), set(beaten))


def test_verdicts_follow_the_differences(tmp_path):
    found = finding(tmp_path, PLAIN)
    assert (found.verdict, found.seeds) == (HOLDS, 5)
    assert found.against == {"mean": "4 / 0 / 0", "one_orbit": "4 / 0 / 0"}
    found = finding(tmp_path, PLAIN | {"one_orbit": 80.0})
    assert found.verdict == CAVEAT
    assert found.against["one_orbit"] == "0 / 4 / 0"
    found = finding(tmp_path, PLAIN | {"gigp": 101.0})
    assert (found.verdict, found.against["mean"]) == (NOT_SEEN, "0 / 4 / 0")
    # targets on which GIGP does not beat the fit on atom counts tell nothing
    assert finding(tmp_path, PLAIN, frozenset()).verdict == OPEN
    assert improves(differences([], {}, []), {"homo"}).verdict == OPEN


def test_a_verdict_needs_five_seeds_and_power(tmp_path):
    assert finding(tmp_path, PLAIN, seeds=4).verdict == TOO_COARSE
    assert finding(tmp_path, PLAIN, seeds=1).verdict == OPEN
    equal = PLAIN | {"gigp": 100.0}
    fine, coarse = (finding(tmp_path, equal, noise=noise) for noise in (0.3, 10.0))
    assert (fine.verdict, fine.against["mean"]) == (NOT_SEEN, "0 / 0 / 4")
    assert (coarse.verdict, coarse.against["mean"]) == (TOO_COARSE, "0 / 0 / 4")
    assert float(fine.smallest.removesuffix("%")) < 2 < float(coarse.smallest.removesuffix("%"))


@pytest.mark.parametrize("verdict", ["lower", "higher"])
def test_what_the_correction_leaves_open_is_no_evidence(tmp_path, verdict):
    """An interval without 0 whose corrected p value is above 5%, as of U0 here."""
    entries, samples = rows_of(tmp_path, SCRATCH, scratch_value)
    numbers = differences(entries, samples, PRIMARY).assign(verdict=verdict)
    numbers["p corrected"] = np.where(numbers["target"] == "U0", 0.077, 0.009)
    found = improves(numbers, set(PRIMARY)).against["mean"]
    assert found == {"lower": "3 / 0 / 1", "higher": "0 / 3 / 1"}[verdict]


def test_one_seed_has_no_p_value(tmp_path):
    entries, samples = rows_of(tmp_path, SCRATCH, scratch_value, only=lambda cell: cell.seed == 0)
    numbers = differences(entries, samples, PRIMARY)
    assert numbers[["low", "high", "p", "p corrected"]].isna().all(axis=None)
    assert set(numbers["verdict"]) == {"unresolved"}
    assert differences_table("it", numbers, PRIMARY).shown["homo, meV"][0].endswith(", one seed")


def test_a_value_at_the_edge_of_what_was_tried_is_named(tmp_path):
    experiment = EXPERIMENTS["qm9_e3_outputs"]

    def notes(best: str) -> str:
        value = lambda c, t: 1.0 + (c.tuned != (f"lr={best}",))  # noqa: E731
        entries, _ = rows_of(tmp_path, experiment, value, only=lambda c: c.label == "gigp")
        return " ".join(results_table("it", "", entries, {}).notes)

    assert "edge" not in notes("0.001")
    for rate in ("0.0001", "0.003"):
        assert f"better may lie outside: `gigp` (lr={rate})." in notes(rate)


def test_what_is_missing_is_named(tmp_path):
    """Rows, seeds, and rates that the first seed has not tried; a single one is an edge."""
    experiment = EXPERIMENTS["qm9_e3_outputs"]

    def chosen(cell) -> bool:
        some = cell.label == "one_orbit" and cell.seed < 2 and cell.tuned != ("lr=0.0001",)
        return some or cell.label in ("gigp", "mean_mlp", "point_mlp")

    entries, _ = rows_of(tmp_path, experiment, lambda c, t: 1.0, only=chosen)
    (row,) = missing_table({experiment.name: entries}).shown.to_dict("records")
    assert row["complete"] == "3 of 8 rows"
    assert row["not complete"] == "`one_orbit`: 2 of 5 seeds, without lr=0.0001."
    assert row["not run"].split("; ")[-2:] == ["`gigp_shuffled`", "`moments`"]
    every, _ = rows_of(tmp_path / "all", experiment, lambda c, t: 1.0)
    assert missing_table({experiment.name: every}).shown.empty

    only = lambda c: c.label == "gigp" and c.tuned == ("lr=0.001",)  # noqa: E731
    entries, _ = rows_of(tmp_path / "one", experiment, lambda c, t: 1.0, only=only)
    assert next(entry for entry in entries if entry.label == "gigp").at_edge


def test_the_verdict_on_digits_is_about_sameness(tmp_path):
    experiment = EXPERIMENTS["rotmnist_features"]

    def found(ours: float, scaled: float = 10.0, **changes: float):
        values = {"gigp": ours, "scaled_sum": scaled}
        entries, samples = rows_of(tmp_path, experiment, lambda c, t: values.get(c.label, 10.0))
        numbers = differences(entries, samples, ["error"]).assign(**{"seeds": 5} | changes)
        return is_same(numbers, entries)

    assert found(10.0).verdict == HOLDS
    assert found(10.0).against["mean"] == "+0 points [+0, +0]"
    assert found(10.0, seeds=3).verdict == TOO_COARSE
    # no difference seen, but only one of half of the error would have been
    assert found(10.0, **{"detectable percent": 50.0}).verdict == TOO_COARSE
    assert found(30.0).verdict == NOT_SEEN
    # on images the scaled sum is the mean: the same training, repeated, gives another error
    assert found(10.0, scaled=10.5).verdict == HOLDS
    coarse = found(10.0, scaled=12.5)
    assert (coarse.verdict, coarse.smallest) == (TOO_COARSE, "22%")


def test_the_verdict_on_orbits(tmp_path):
    experiment = EXPERIMENTS["orbits_pools"]

    def of(**errors: float) -> str:
        value = lambda c, t: errors.get(c.label, 4.0)  # noqa: E731
        return expresses(rows_of(tmp_path, experiment, value)[0]).verdict

    assert of(gigp=0.1) == HOLDS
    assert of(gigp=0.1, radial_deepsets_rho=0.2) == CAVEAT
    assert of(gigp=3.5) == NOT_SEEN
    assert expresses(make_rows(experiment, [])).verdict == OPEN


def test_whether_a_gain_is_noise_reduction(tmp_path):
    """On T(3) GIGP is better by 5 in one orientation, by nothing on the average."""
    errors = {"gigp": 90.0, "one_orbit": 95.0}
    t3, _ = rows_of(
        tmp_path,
        EXPERIMENTS["qm9_outputs"],
        lambda cell, t: errors[cell.label] - cell.seed,
        only=lambda cell: cell.label in errors and cell.seed < 3,
    )
    for entry in t3:
        for runs in entry.runs.values():
            for seed, record in runs.items():
                for metric in record.metrics.values():
                    averaged = 80.0 + (0.1 * (seed - 1) if entry.label == "gigp" else 0)
                    object.__setattr__(metric, "averaged", averaged)
    orbit = next(entry for entry in t3 if entry.label == "one_orbit")
    first = {target: {0: runs[0]} for target, runs in orbit.runs.items()}
    mean = replace(orbit, label="mean", runs=first)
    shown = noise_table({"qm9_outputs_rotations": [*t3, mean], "qm9_e3_outputs": []}).shown
    shown = shown.set_index(["GIGP minus", "target"])
    row = shown.loc[("`one_orbit`", "homo")]
    assert row["T(3), one orientation"] == "-5.3 [-5.3, -5.3], 3 seeds"  # of 94
    assert row["T(3), averaged"] == "+0.0 [-0.3, +0.3], 3 seeds"
    assert row["E(3)"] == "not run"
    assert shown.loc[("`mean`", "U0"), "T(3), one orientation"] == "-5.3, one seed"


def test_advice_follows_the_differences(tmp_path):
    """GIGP is better than the mean, and than a single orbit on homo alone; an MLP on every point is
    better than GIGP.
    """
    errors = {"gigp": 90.0, "one_orbit": 90.0, "point_mlp": 80.0, "mean": 100.0}

    def value(cell, target: str) -> float:
        extra = 2.0 if (cell.label, target) == ("one_orbit", "homo") else 0.0
        return errors[cell.label] + extra + 0.1 * cell.seed

    def chosen(cell) -> bool:
        return cell.label in errors and cell.seed < 3

    entries, samples = rows_of(tmp_path, EXPERIMENTS["qm9_e3_features"], value, only=chosen)
    numbers = differences(entries, samples, PRIMARY)
    use, for_orbits, beats, seeds = advice({"qm9_e3_outputs": numbers}).splitlines()
    assert use.startswith("- **Use it** in place of averaging")
    assert "by -10.0 to -10.0% (4 of 4 targets" in use
    assert for_orbits.startswith("- **Not** for the orbits")
    assert "by -2.2 to +0.0% (1 of 4 targets" in for_orbits
    assert "`point_mlp` (by 12.5%) on E(3): pools on the outputs" in beats
    assert seeds == "- A verdict needs 5 seeds; some of these rest on 3."
    worse = numbers.assign(verdict="higher", percent=-numbers["percent"])
    assert advice({"qm9_e3_outputs": worse}).startswith("- **Not seen to help** in place of")
    nothing = advice({})
    assert nothing.count("not measured yet") == 2
    assert "nothing that was tried" in nothing


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
