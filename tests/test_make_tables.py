"""Tables come from records: what is committed is what the records give, and a changed record is noticed."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT


def make_tables(root, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "scripts/make_tables.py", "--root", str(root), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path):
    """README and records as committed."""
    files = subprocess.run(
        ["git", "ls-files", "README.md", "results"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_committed_tables_are_what_the_records_give(copy):
    done = make_tables(copy, "--check")
    assert done.returncode == 0, done.stderr


def test_a_changed_record_is_noticed(copy):
    path = next(copy.glob("results/runs/*/seed*/summary.json"))
    record = json.loads(path.read_text())
    for metric in record["metrics"].values():
        metric["test"] *= 2
    path.write_text(json.dumps(record))
    done = make_tables(copy, "--check")
    assert done.returncode == 1
    assert "README.md" in done.stderr
    assert make_tables(copy).returncode == 0
    assert make_tables(copy, "--check").returncode == 0


def write_record(root, pool: str, seed: int, value: float, like: str = "qm9_homo_T3_mean_small") -> None:
    """A record like a committed one, of another pool, seed and result."""
    record = json.loads((root / "results" / "runs" / like / "seed0" / "summary.json").read_text())
    record["name"] = f"qm9_homo_T3_{pool}_small"
    record["choices"]["pool"], record["seed"] = pool, seed
    record["metrics"]["homo"]["test"] = value
    path = root / "results" / "runs" / record["name"] / f"seed{seed}" / "summary.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def rows(root, name: str) -> list[dict[str, str]]:
    """Rows of a generated Markdown table that concern HOMO on its own."""
    lines = (root / "results" / "tables" / f"{name}.md").read_text().splitlines()
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    table = [dict(zip(split[0], line, strict=True)) for line in split[2:]]
    return [row for row in table if row["target"] == "homo" and "experiment" not in row.get("variant", "")]


def test_mean_and_spread_over_seeds(copy):
    for seed, value in ((0, 10.0), (7, 14.0)):
        write_record(copy, "mean", seed, value)
    assert make_tables(copy).returncode == 0
    (row,) = rows(copy, "pools")
    assert row["mean"] == "12 ± 2.8 (2)"
    assert row["mean"] in (copy / "README.md").read_text()


def test_missing_cells_are_shown(copy):
    write_record(copy, "radial_deepsets", 0, 10.0)
    assert make_tables(copy).returncode == 0
    table = (copy / "results" / "tables" / "pools.md").read_text()
    assert "missing" in table


def test_paired_comparison(copy):
    """Differences 1, 2, 3 over three common seeds; a fourth seed that only one pool has does not count."""
    for seed, (ours, theirs) in enumerate(((11.0, 10.0), (22.0, 20.0), (33.0, 30.0))):
        write_record(copy, "gigp", seed, ours)
        write_record(copy, "mean", seed, theirs)
    write_record(copy, "mean", 9, 1000.0)
    assert make_tables(copy).returncode == 0
    row = next(row for row in rows(copy, "paired") if row["GIGP minus"] == "mean")
    assert (row["difference"], row["seeds"]) == ("+2", "3")
    half = 4.3027 / 3**0.5  # 97.5% quantile of t with two degrees of freedom, standard deviation 1
    assert row["95% interval"] == f"{2 - half:+.3g} to {2 + half:+.3g}"
    assert row["p"] == "0.25"  # two of the eight sign flips are as extreme
