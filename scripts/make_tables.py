"""Make the tables of results/ and README.md from run records: `python scripts/make_tables.py`.

With --check nothing is written; the exit status says whether the tables are what the records give.
"""

import argparse
import json
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- results: make_tables.py -->", "<!-- end of results -->"
POOLS = ["gigp", "mean", "sum", "max", "one_orbit", "mean_mlp", "radial_deepsets"]
BASELINES = POOLS[1:]
# what makes two results comparable: all but pool and seed
SETTING = ["data set", "target", "unit", "kind", "backbone", "pooled", "protocol", "scale", "variant", "train", "split",
           "source"]  # fmt: skip
MISSING = "missing"


def read_records(runs: Path) -> pd.DataFrame:
    """One row for each metric of each finished run, but for debug runs."""
    rows = []
    for path in sorted(runs.glob("*/seed*/summary.json")):
        record = json.loads(path.read_text())
        data, choices = record["data"], record["choices"]
        if choices["scale"] == "debug":
            continue
        features = data.get("features_of", {})
        extra = record["name"].split(f"_{choices['scale']}", 1)[1].strip("_").split("_")
        of_pool = sorted(e for e in extra if e.startswith("pool.") or e.startswith("pool_on"))
        variant = sorted(e for e in extra if e and e not in of_pool)
        for name, metric in record["metrics"].items():
            target = data["targets"].get(name, {"kind": "classification"})
            rows.append({
                "data set": data["dataset"], "target": name, "unit": metric["unit"], "kind": target["kind"],
                "backbone": features.get("backbone", record["backbone_group"]), "pooled": record["pool_on"],
                "protocol": "frozen backbone" if features or record["frozen_backbone"] else "from scratch",
                "scale": choices["scale"], "variant": " ".join(variant),
                "train": f"{data['sizes']['train']:,} x {record['epochs']}",
                "split": data["split"], "source": data["source"],
                "pool": " ".join([choices["pool"], *(e for e in of_pool if e.startswith("pool."))]),
                "seed": record["seed"], "test": metric["test"], "minutes": record["seconds"] / 60,
                "limit": data.get("limit", {}).get("mean and sum"),
            })  # fmt: skip
    return pd.DataFrame(rows, columns=[*SETTING, "pool", "seed", "test", "minutes", "limit"])


def pool_columns(records: pd.DataFrame) -> list[str]:
    """Pools in the order of tables: the method, what it is compared with, its controls, then its variants."""
    found = set(records["pool"])
    return [p for p in POOLS if p in found] + sorted(found - set(POOLS))


def summarize(records: pd.DataFrame) -> pd.DataFrame:
    """Every setting with mean and standard deviation over the seeds, and their number, for each pool."""
    rows = []
    for setting, group in records.groupby(SETTING, sort=False):
        row = dict(zip(SETTING, setting, strict=True))
        for pool in pool_columns(records):
            row[pool] = mean_and_spread(group.loc[group["pool"] == pool, "test"])
        if records["limit"].notna().any():
            limit = group["limit"].iloc[0]
            row["limit of mean and sum"] = MISSING if pd.isna(limit) else f"{limit:.4g}"
        row["minutes"] = f"{group['minutes'].mean():.2g}"
        rows.append(row)
    return pd.DataFrame(rows)


def mean_and_spread(values: pd.Series) -> str:
    """Mean ± standard deviation (number of seeds)."""
    if not len(values):
        return MISSING
    spread = f" ± {values.std():.2g}" if len(values) > 1 else ""
    return f"{values.mean():.4g}{spread} ({len(values)})"


def compare(records: pd.DataFrame) -> pd.DataFrame:
    """GIGP against every other pool over the seeds that both have: same split, same order of the data."""
    rows = []
    for setting, group in records.groupby(SETTING, sort=False):
        by_pool = {pool: runs.set_index("seed")["test"] for pool, runs in group.groupby("pool")}
        for baseline in BASELINES if "gigp" in by_pool else []:
            if baseline in by_pool:
                difference = (by_pool["gigp"] - by_pool[baseline]).dropna().to_numpy()
                relative = 100 * difference.mean() / by_pool[baseline].mean() if len(difference) else np.nan
                rows.append({**dict(zip(SETTING[:9], setting, strict=False)), "GIGP minus": baseline,
                             **paired(difference), "%": f"{relative:+.1f}"})  # fmt: skip
    return pd.DataFrame(rows)


def paired(difference: np.ndarray) -> dict[str, str]:
    """Mean of paired differences, 95% t interval, and the exact p value of the sign-flip permutation test."""
    num = len(difference)
    row = {"difference": f"{difference.mean():+.3g}" if num else MISSING, "95% interval": MISSING, "p": MISSING}
    if num > 1:
        half = stats.t.ppf(0.975, num - 1) * difference.std(ddof=1) / np.sqrt(num)
        row["95% interval"] = f"{difference.mean() - half:+.3g} to {difference.mean() + half:+.3g}"
        flips = np.array(list(product([1, -1], repeat=num))) @ difference
        row["p"] = f"{np.mean(np.abs(flips) >= abs(difference.sum()) * (1 - 1e-12)):.3g}"
    return {**row, "seeds": str(num)}


def drop_constant(table: pd.DataFrame, keep: tuple[str, ...] = ("target", "unit")) -> pd.DataFrame:
    """Without the columns of the setting that are empty or say the same in every row."""
    same = [c for c in SETTING if c in table and c not in keep and table[c].nunique() <= 1]
    return table.drop(columns=[c for c in same if not table[c].iloc[0] or c in ("variant",)])


def to_markdown(table: pd.DataFrame) -> str:
    """A Markdown table."""
    lines = [table.columns, ["---"] * len(table.columns), *table.astype(str).to_numpy()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_latex(table: pd.DataFrame) -> str:
    """A LaTeX table."""
    return table.to_latex(index=False, escape=True)


def speed_report(record: dict) -> str:
    """The benchmark's record as Markdown; ratios are to the reference in the same run."""
    speed, bounds = [], []
    for case, result in record["cases"].items():
        other = result["sides"].get("reference")
        for side, entry in result["sides"].items():
            if side == "reference":
                continue
            name = case + (", bf16" if "bf16" in side else "")
            row: dict[str, str] = {"case": name}
            for what, key in (("train/s", "train"), ("eval/s", "eval"), ("peak MB", "peak_mb")):
                row[what] = f"{entry[key]:.4g}"
                row[f"reference {what}"] = f"{other[key]:.4g}" if other else MISSING
                row[f"{what} ratio"] = f"{entry[key] / other[key]:.2f}x" if other else MISSING
            speed.append(row)
            shares = sorted(entry["time_shares"].items(), key=lambda item: -item[1])[:4]
            bounds.append({
                "case": name, "step, ms": f"{1e3 * entry['step_seconds']:.4g}",
                "arithmetic at the matrix rate, ms": f"{1e3 * entry['arithmetic_seconds']:.4g}",
                "share": f"{entry['share_of_matrix_rate']:.0%}",
                "bytes at the copy rate, ms": f"{1e3 * entry['traffic_seconds']:.4g}",
                "where the time goes": ", ".join(f"{kind} {share:.0%}" for kind, share in shares),
            })  # fmt: skip
    parts = [f"{record['threads']} threads, torch {record['versions']['torch']}, medians of {record['repeats']} turns.",
             to_markdown(pd.DataFrame(speed)), to_markdown(pd.DataFrame(bounds))]  # fmt: skip
    if "parity" in record:
        rows = [(of, f"{difference:.1e}") for of, difference in record["parity"].items()]
        parts.append(to_markdown(pd.DataFrame(rows, columns=["parity with the reference", "relative difference"])))
    for rows in (*record.get("pool_growth", {}).values(), record.get("mixed_sizes", [])):
        if rows:
            parts.append(to_markdown(pd.DataFrame(rows)))
    if "training_overhead" in record:
        share = record["training_overhead"]["overhead"]
        parts.append(f"Loader, callbacks, logging and Lightning take {share:.1%} of a training epoch at scale=small.\n")
    return "\n".join(part if part.endswith("\n") else part + "\n" for part in parts)


def insert(readme: str, table: str) -> str:
    """The README with the table between its markers."""
    before, _, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        sys.exit(f"README.md has no block between {START!r} and {END!r}.")
    return f"{before}{START}\n{table}{end}{after}"


def make(root: Path) -> dict[Path, str]:
    """Every generated file with its text."""
    records = read_records(root / "results" / "runs")
    readme, tables = root / "README.md", root / "results" / "tables"
    pools = drop_constant(summarize(records))
    files = {
        tables / "runs.csv": records.drop(columns="limit").round(6).to_csv(index=False),
        readme: insert(readme.read_text(), to_markdown(pools.drop(columns=["split", "kind"]))),
    }
    for name, table in (("pools", pools), ("paired", drop_constant(compare(records)))):
        files |= {tables / f"{name}.md": to_markdown(table), tables / f"{name}.tex": to_latex(table)}
    benchmark = root / "results" / "benchmarks" / "cpu.json"
    if benchmark.exists():
        files[tables / "speed.md"] = speed_report(json.loads(benchmark.read_text()))
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="folder that holds README.md and results/")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if anything differs")
    arguments = parser.parse_args()
    wanted = make(arguments.root)
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if arguments.check and stale:
        sys.exit("not what the records give: " + ", ".join(map(str, stale)) + "; run python scripts/make_tables.py")
    for path in [] if arguments.check else stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
