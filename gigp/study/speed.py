"""The benchmark's record as tables."""

from statistics import median
from typing import Any

import pandas as pd

from gigp.study.tables.table import to_markdown

MISSING = "missing"


def speed_report(record: dict[str, Any]) -> str:
    """The benchmark's record as Markdown; ratios are to the reference in the same run."""
    speed, bounds = [], []
    for case, result in record["cases"].items():
        other = result["sides"].get("reference")
        for side, entry in result["sides"].items():
            if side == "reference":
                continue
            # the title names the side of ours; others are added to it
            name = case if side == "gigp" else f"{case}, {side.removeprefix('gigp ')}"
            row: dict[str, str] = {"case": name}
            for what, key in (("train/s", "train"), ("eval/s", "eval"), ("peak MB", "peak_mb")):
                row[what] = f"{entry[key]:.4g}"
                row[f"reference {what}"] = f"{other[key]:.4g}" if other else MISSING
                row[f"{what} ratio"] = f"{entry[key] / other[key]:.2f}x" if other else MISSING
            speed.append(row)
            shares = sorted(entry["time_shares"].items(), key=lambda item: -item[1])[:4]
            bounds.append(
                {
                    "case": name,
                    "step, ms": f"{1e3 * entry['step_seconds']:.4g}",
                    "arithmetic at the matrix rate, ms": f"{1e3 * entry['arithmetic_seconds']:.4g}",
                    "share": f"{entry['share_of_matrix_rate']:.0%}",
                    "bytes at the copy rate, ms": f"{1e3 * entry['traffic_seconds']:.4g}",
                    "where the time goes": ", ".join(
                        f"{kind} {share:.0%}" for kind, share in shares
                    ),
                }
            )
    parts = [machine(record), to_markdown(pd.DataFrame(speed)), to_markdown(pd.DataFrame(bounds))]
    if "parity" in record:
        rows = [(of, f"{difference:.1e}") for of, difference in record["parity"].items()]
        parts.append(
            to_markdown(
                pd.DataFrame(rows, columns=["parity with the reference", "relative difference"])
            )
        )
    for rows in (*record.get("pool_growth", {}).values(), record.get("mixed_sizes", [])):
        if rows:
            parts.append(to_markdown(pd.DataFrame(rows)))
    if "training_overhead" in record:
        share = record["training_overhead"]["overhead"]
        parts.append(
            f"Loader, callbacks, logging and Lightning take {share:.1%} of a training epoch at "
            "scale=small.\n"
        )
    return "\n".join(part if part.endswith("\n") else part + "\n" for part in parts)


def machine(record: dict[str, Any]) -> str:
    """The machine that figures were measured on, and its best rates; medians over the cases."""
    found = [case["machine"] for case in record["cases"].values()]
    rates = {key: median(rate[key] for rate in found) for key in found[0]}
    bf16 = f"{rates['bf16']:.0f} in bf16" if "bf16" in rates else "it has no bf16"
    threads = "1 thread" if record["threads"] == 1 else f"{record['threads']} threads"
    if record.get("clock") == "cpu":
        threads += ", processor time"
    return (
        f"## {record.get('processor', 'A CPU, not named')}\n\n{threads}, torch "
        f"{record['versions']['torch']}, commit {record['git_commit'][:7]}, medians of "
        f"{record['repeats']} turns. Matrix products run at {rates['fp32']:.0f} GFLOP/s ({bf16}), "
        f"copies at {rates['copy']:.0f} GB/s."
    )
