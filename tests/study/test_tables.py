"""Tables say what records hold: means, spreads, pairs, budgets, units, and what is missing."""

from dataclasses import replace

import pandas as pd
import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from gigp.config.compose import CONFIGS
from gigp.config.instantiate import instantiate
from gigp.errors import InputError
from gigp.study.experiments import read_experiments
from gigp.study.published import read_published
from gigp.study.report import family
from gigp.study.runs import read_records, symmetry_of
from gigp.study.tables import comparisons, paired_table, results, results_table
from tests.conftest import ROOT
from tests.study.synthetic import write_run, write_runs

PUBLISHED = read_published(ROOT / "results" / "published.yaml")
EXPERIMENTS = read_experiments()


def cells_of(experiment: str, **wanted):
    """Cells of an experiment with these choices."""
    return [
        c
        for c in EXPERIMENTS[experiment].cells("small")
        if all(c.choices[k] == v for k, v in wanted.items())
    ]


def table(runs, experiment: str):
    records = read_records(runs, EXPERIMENTS)
    return results_table(
        "it", results(family(records, [experiment], EXPERIMENTS), PUBLISHED), EXPERIMENTS, PUBLISHED
    )


def test_mean_spread_and_seeds_with_unit_and_kind(tmp_path):
    """Seeds 0 to 4 give 10 to 14: mean 12, standard deviation 1.58; one seed less is counted as
    missing.
    """
    write_runs(
        tmp_path, cells_of("qm9_controls", pool="gigp"), lambda cell, target: 10.0 + cell.seed
    )
    write_runs(
        tmp_path, cells_of("qm9_controls", pool="mean")[:4], lambda cell, target: 10.0 + cell.seed
    )
    shown = table(tmp_path, "qm9_controls").shown.set_index("target")
    assert list(shown.index) == [
        "mu",
        "alpha",
        "homo",
        "lumo",
        "gap",
        "r2",
        "zpve",
        "U0",
        "U",
        "H",
        "G",
        "Cv",
    ]
    homo = shown.loc["homo"]
    assert (homo["unit"], homo["kind"]) == ("meV", "intensive")
    assert homo["gigp"] == "12.0 ± 1.6 (5)"
    assert homo["mean"] == "11.5 ± 1.3 (4 of 5)"
    assert homo["sum"] == "missing"
    assert homo["minutes"] == "3"
    assert shown.loc["r2", "unit"] == "bohr^2"


def test_what_is_the_same_in_all_rows_is_said_once(tmp_path):
    write_runs(tmp_path, cells_of("qm9_controls", pool="gigp"), lambda cell, target: 1.0)
    it = table(tmp_path, "qm9_controls")
    assert "split" not in it.shown
    assert "train size x epochs: 1,000 x 20; split: seeded draw; source: synthetic" in it.markdown()
    assert "protocol: from scratch" in it.markdown()


def test_published_figures_stand_beside_with_their_budget(tmp_path):
    write_runs(tmp_path, cells_of("qm9_controls", pool="gigp"), lambda cell, target: 1.0)
    it = table(tmp_path, "qm9_controls")
    shown = it.shown.set_index("target")["published mean"]
    assert (shown["homo"], shown["r2"]) == ("30", "0.800")
    assert "arXiv 2002.12880" in it.markdown()
    assert "100,000 x 500 on qm9; not run here" in it.markdown()


def test_limit_of_sums_stands_beside(tmp_path):
    write_runs(tmp_path, cells_of("orbits_pools", pool="gigp"), lambda cell, target: 1.0)
    assert set(table(tmp_path, "orbits_pools").shown["limit of mean and sum"]) == {"3.25"}


def test_runs_of_another_source_or_budget_are_another_row(tmp_path):
    cells = cells_of("qm9_controls", pool="gigp")
    write_runs(tmp_path, cells[:2], lambda cell, target: 1.0)
    write_runs(tmp_path, cells[2:], lambda cell, target: 9.0, epochs=40)
    shown = table(tmp_path, "qm9_controls").shown.set_index(["target", "train size x epochs"])[
        "gigp"
    ]
    assert shown["homo", "1,000 x 20"] == "1 ± 0 (2)"
    assert shown["homo", "1,000 x 40"] == "9 ± 0 (3)"


def test_variants_are_told_apart_and_defaults_are_not_named(tmp_path):
    write_runs(tmp_path, cells_of("ablation_orbits"), lambda cell, target: 1.0)
    shown = table(tmp_path, "ablation_orbits").shown
    assert [c for c in shown if "gigp" in c] == [
        "gigp",
        "gigp, orbits=2",
        "gigp, orbits=5",
        "gigp, orbits=15",
    ]
    assert set(shown["gigp, orbits=15"]) == {"1 ± 0 (3)"}


def test_many_pools_are_rows(tmp_path):
    write_runs(tmp_path, cells_of("qm9_readouts"), lambda cell, target: 1.0)
    shown = table(tmp_path, "qm9_readouts").shown
    assert list(shown["pool"])[:3] == ["gigp", "mean", "one_orbit"]
    assert set(shown["homo, meV"]) == {"1 ± 0 (3)"}


def test_every_readout_has_a_row_and_is_compared(tmp_path):
    """All pools of configs/pool but the plain and the other controls; on features, from the
    backbone's run.
    """
    cells = cells_of("qm9_readouts")
    readouts = {
        path.stem
        for path in (ROOT / "configs" / "pool").glob("*.yaml")
        if "Readout" in path.read_text()
    }
    assert len(readouts) == 8
    assert {c.choices["pool"] for c in cells} == {
        "gigp",
        "mean",
        "one_orbit",
        "mean_mlp",
    } | readouts
    assert {(c.pool_on, c.protocol, len(c.targets)) for c in cells} == {
        ("features", "frozen backbone", 12)
    }
    write_runs(
        tmp_path, [c for c in cells if c.choices["pool"] != "median"], lambda cell, target: 1.0
    )
    shown = table(tmp_path, "qm9_readouts").shown.set_index("pool")["homo, meV"]
    assert list(shown.index) == ["gigp", "mean", "one_orbit", "mean_mlp", *sorted(readouts)]
    assert (shown["set2set"], shown["median"]) == ("1 ± 0 (3)", "missing")
    numbers = comparisons(
        family(read_records(tmp_path, EXPERIMENTS), ["qm9_readouts"], EXPERIMENTS)
    )
    assert set(numbers["minus"]) == {"mean", "one_orbit", "mean_mlp"} | readouts


def test_invariant_backbones_are_rows_of_their_own_symmetry(tmp_path):
    """SE(3) in records and in what is missing, though group=T3; no figure of LieConv is put beside
    them.
    """
    cells = [c for c in cells_of("qm9_backbones") if c.choices["pool"] in ("gigp", "mean")]
    write_runs(tmp_path, cells, lambda cell, target: 1.0 + cell.seed)
    it = table(tmp_path, "qm9_backbones")
    shown = it.shown.set_index("variant")
    # missing pools are in the rows of the others
    assert list(shown.index) == ["backbone=schnet", "backbone=visnet"]
    assert list(shown.loc["backbone=visnet", ["gigp", "one_orbit"]]) == ["2.0 ± 1.0 (3)", "missing"]
    assert "backbone: SE(3)" in it.markdown()
    assert "published" not in shown


@pytest.mark.parametrize(
    "path", sorted((CONFIGS / "group").glob("*.yaml")), ids=lambda path: path.stem
)
def test_symmetry_is_named_as_the_group_names_itself(path):
    group = instantiate(OmegaConf.load(path).group)
    assert symmetry_of(path.stem, None) == symmetry_of(path.stem, "lieconv") == str(group)


@pytest.mark.parametrize(
    "path", sorted((CONFIGS / "backbone").glob("*.yaml")), ids=lambda path: path.stem
)
def test_symmetry_of_a_backbone_is_its_own_where_it_has_one(path):
    node = OmegaConf.load(path)
    own = getattr(get_class(node.get("backbone", node)["_target_"]), "group", None)
    assert symmetry_of("T3", path.stem) == ("T(3)" if own is None else str(own))


def test_pairs_are_of_the_same_seed(tmp_path):
    """Differences 1, 2, 3 over three common seeds; a fourth seed that only one pool has does not
    count.
    """
    ours, theirs = (cells_of("qm9_controls", pool=pool) for pool in ("gigp", "mean"))
    for i, (a, b) in enumerate(((11.0, 10.0), (22.0, 20.0), (33.0, 30.0))):
        write_run(tmp_path, ours[i], lambda cell, target, a=a: a)
        write_run(tmp_path, theirs[i], lambda cell, target, b=b: b)
    write_run(tmp_path, theirs[3], lambda cell, target: 1000.0)
    numbers = comparisons(
        family(read_records(tmp_path, EXPERIMENTS), ["qm9_controls"], EXPERIMENTS)
    )
    row = numbers.set_index(["minus", "target"]).loc["mean", "homo"]
    half = 4.3027 / 3**0.5  # 97.5% quantile of t with two degrees of freedom, standard deviation 1
    assert (row["difference"], row["pairs"], row["p"]) == (2.0, 3, 0.25)
    assert row["low"] == pytest.approx(2 - half, rel=1e-4)
    assert row["high"] == pytest.approx(2 + half, rel=1e-4)
    assert row["percent"] == pytest.approx(10.0)
    shown = paired_table("it", numbers, EXPERIMENTS).shown.set_index("target").loc["homo"]
    assert shown["minus mean"] == f"+2 [{2 - half:+.3g}, {2 + half:+.3g}], p 0.25"
    assert shown["minus sum"] == "missing"


def test_every_control_is_compared(tmp_path):
    write_runs(tmp_path, cells_of("qm9_controls"), lambda cell, target: 1.0 + cell.seed)
    numbers = comparisons(
        family(read_records(tmp_path, EXPERIMENTS), ["qm9_controls"], EXPERIMENTS)
    )
    assert set(numbers["minus"]) == {
        "mean",
        "sum",
        "max",
        "one_orbit",
        "mean_mlp",
        "radial_deepsets",
    }
    assert len(numbers) == 6 * 12


def test_two_records_of_one_cell_are_refused(tmp_path):
    cell = cells_of("rotmnist_pools", pool="gigp")[0]
    folder = write_run(tmp_path, cell, lambda cell, target: 1.0)
    (tmp_path / f"{cell.name}_again" / "seed0").mkdir(parents=True)
    (tmp_path / f"{cell.name}_again" / "seed0" / "summary.json").write_text(
        (folder / "summary.json").read_text()
    )
    with pytest.raises(InputError, match="one cell"):
        read_records(tmp_path, EXPERIMENTS)


def test_a_run_under_another_name_is_not_missing(tmp_path):
    """As by `pool.orbits=50`, which is the default and so no other pool: one cell, not two."""
    cells = cells_of("rotmnist_pools", pool="gigp")
    write_run(tmp_path, cells[1], lambda cell, target: 4.0)  # tells split, source and budget
    renamed = replace(cells[0], name=f"{cells[0].name}_pool.orbits=50")
    write_run(tmp_path, renamed, lambda cell, target: 2.0, overrides=["pool.orbits=50"])
    assert table(tmp_path, "rotmnist_pools").shown["gigp"][0] == "3.0 ± 1.4 (2 of 5)"


def test_debug_runs_stay_out(tmp_path):
    cell = EXPERIMENTS["rotmnist_pools"].cells("debug")[0]
    write_run(tmp_path, cell, lambda cell, target: 1.0)
    assert read_records(tmp_path, EXPERIMENTS).empty


def test_csv_holds_numbers_and_latex_is_escaped(tmp_path):
    write_runs(
        tmp_path, cells_of("qm9_controls", pool="gigp"), lambda cell, target: 10.0 + cell.seed
    )
    files = table(tmp_path, "qm9_controls").files()
    (tmp_path / "it.csv").write_text(files["csv"])
    rows = pd.read_csv(tmp_path / "it.csv").set_index(["target", "pool"])
    assert rows.loc[("homo", "gigp"), "mean"] == 12.0
    assert rows.loc[("homo", "gigp"), "seeds"] == 5
    assert r"r2 & bohr\textasciicircum{}2 & extensive & 12.0 ± 1.6 (5)" in files["tex"]
