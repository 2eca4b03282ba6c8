"""Make the tables of results/ and README.md from run records: `python scripts/make_tables.py`.

With --check nothing is written; the exit status says whether the tables are what the records give.
"""

import argparse
import json
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- results: make_tables.py -->", "<!-- end of results -->"
CELL = ["data set", "target", "unit", "kind", "backbone", "pool", "over", "scale", "train", "split", "source"]


def read_records(runs: Path) -> pd.DataFrame:
    """One row for each metric of each finished run, but for debug runs."""
    rows = []
    for path in sorted(runs.glob("*/seed*/summary.json")):
        record = json.loads(path.read_text())
        data = record["data"]
        if record["choices"]["scale"] == "debug":
            continue
        for name, metric in record["metrics"].items():
            target = data["targets"].get(name, {"kind": "classification"})
            row = (
                data["dataset"], name, metric["unit"], target["kind"], record["backbone_group"],
                record["choices"]["pool"], record["pool_group"] or "", record["choices"]["scale"],
                f"{data['sizes']['train']:,} x {record['epochs']}", data["split"], data["source"],
            )  # fmt: skip
            rows.append((record["name"], *row, record["seed"], metric["test"], record["seconds"] / 60))
    return pd.DataFrame(rows, columns=["name", *CELL, "seed", "test", "minutes"])


def summarize(records: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over the seeds of every cell."""
    cells = records.groupby(["name", *CELL], as_index=False, sort=True).agg(
        mean=("test", "mean"), std=("test", "std"), seeds=("seed", "count"), minutes=("minutes", "mean")
    )
    spread = cells["std"].map(lambda s: "" if pd.isna(s) else f" ± {s:.2g}")
    cells.insert(1, "test", cells["mean"].map(lambda m: f"{m:.4g}") + spread)
    cells["minutes"] = cells["minutes"].map(lambda m: f"{m:.0f}")
    return cells.drop(columns=["name", "mean", "std"])[[*CELL[:7], "test", "seeds", *CELL[7:], "minutes"]]


def to_markdown(table: pd.DataFrame) -> str:
    """A Markdown table; "train" is molecules or digits x epochs."""
    lines = [table.columns, ["---"] * len(table.columns), *table.astype(str).to_numpy()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def insert(readme: str, table: str) -> str:
    """The README with the table between its markers."""
    before, _, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        sys.exit(f"README.md has no block between {START!r} and {END!r}.")
    return f"{before}{START}\n{table}{end}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="folder that holds README.md and results/")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if anything differs")
    arguments = parser.parse_args()
    table = summarize(read_records(arguments.root / "results" / "runs"))
    readme, tables = arguments.root / "README.md", arguments.root / "results" / "tables"
    wanted = {
        tables / "runs.csv": table.to_csv(index=False),
        tables / "runs.md": to_markdown(table),
        readme: insert(readme.read_text(), to_markdown(table)),
    }
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if arguments.check and stale:
        sys.exit("not what the records give: " + ", ".join(map(str, stale)) + "; run python scripts/make_tables.py")
    for path in [] if arguments.check else stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
