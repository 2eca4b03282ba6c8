"""Records of the benchmark and of `make gpu` as tables."""

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

import pandas as pd

from gigp.lab.study.paper_scale import rate_text, rows_of_cpu, rows_of_gpu
from gigp.lab.study.tables.table import to_markdown


def of_gpu(record: dict[str, Any]) -> bool:
    """Whether a record is one of `make gpu`."""
    return "loop" in record


def hours_table(records: Sequence[dict[str, Any]]) -> str:
    """Hours of runs at scale=paper by all records, as Markdown."""
    rows: list[dict[str, str]] = []
    for record in records:
        if of_gpu(record):
            rows += rows_of_gpu(record["device"], record)
        elif record["cases"]:
            rows += rows_of_cpu(f"{processor(record)}, {threads(record)}", record)
    return to_markdown(pd.DataFrame(rows))


def gpu_rows(record: dict[str, Any]) -> list[dict[str, str]]:
    """One row for each measurement of `make gpu`."""
    rows = []
    for title, result in record["cases"].items():
        for entry in result["entries"]:
            share = entry.get("share_of_matrix_rate")
            rows.append(
                {
                    "case": title,
                    "how": entry["precision"] + (", compiled" if entry["compiled"] else ""),
                    "step, ms": f"{entry['step_ms']:.3g}",
                    "train/s": rate_text(entry["train"]),
                    "eval/s": rate_text(entry["eval"]),
                    "launches": str(entry["launches"]),
                    "kernels": str(entry.get("kernels", "")),
                    "MB": f"{entry['peak_mb']:.4g}",
                    "of matrix rate": "" if share is None else f"{share:.0%}",
                    "hours": f"{entry['hours']:.3g}",
                }
            )
    return rows


def gpu_notes(record: dict[str, Any]) -> list[str]:
    """Sentences about a record of `make gpu`: rates, loop, parity, reference, what is missing."""
    rates = ", ".join(f"{name} {rate_text(rate)}" for name, rate in record["rates"].items())
    loop = record["loop"]
    notes = [
        f"Tests that need a GPU: {record['tests']}.",
        f"Matrix products, GFLOP/s: {rates}.",
        f"Host time of a step of an empty model: {loop['run']:.2f} ms in a run, {loop['bare']:.2f} "
        "in a bare loop.",
        "Launches of a training step; kernels that were generated for it; hours at scale=paper.",
    ]
    for title, result in record["cases"].items():
        if "parity" in result:
            differences = ", ".join(
                f"{name} {value:.1e}" for name, value in result["parity"].items()
            )
            notes.append(f"{title}: relative difference to the CPU in fp32: {differences}.")
        if "reference" in result:
            train, evaluation = result["reference"]["train"], result["reference"]["eval"]
            notes.append(
                f"{title}: the reference trains {rate_text(train)}/s, evaluates "
                f"{rate_text(evaluation)}/s."
            )
    left_out = Counter(left.partition(", ")[0] for left in record["left_out"])
    if left_out:
        names = ", ".join(f"{title} ({number})" for title, number in left_out.items())
        notes.append(f"Measurements left out for lack of time: {names}.")
    return notes


def speed_report(record: dict[str, Any]) -> str:
    """A record as Markdown; ratios are to the reference in the same run."""
    if of_gpu(record):
        title = f"## {record['device']}\n\ntorch {record['versions']['torch']}."
        table = to_markdown(pd.DataFrame(gpu_rows(record)))
        return "\n\n".join([f"{title} {' '.join(gpu_notes(record))}", table])
    parts = [machine(record), *(to_markdown(table) for table in case_tables(record))]
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


def case_tables(record: dict[str, Any]) -> list[pd.DataFrame]:
    """Speed and memory beside the reference, the same of cases that have none, and bounds."""
    tables: tuple[list[dict[str, str]], ...] = [], [], []
    compared, alone, bounds = tables
    for case, result in record["cases"].items():
        other = result["sides"].get("reference")
        for side, entry in result["sides"].items():
            if side == "reference":
                continue
            # variants of ours, as bf16, are added to the title
            name = case if side == "gigp" and other else f"{case}, {side.removeprefix('gigp ')}"
            row = {"case": name}
            for what, key in (("train/s", "train"), ("eval/s", "eval"), ("peak MB", "peak_mb")):
                row[what] = f"{entry[key]:.4g}"
                if other:
                    row[f"reference {what}"] = f"{other[key]:.4g}"
                    row[f"{what} ratio"] = f"{entry[key] / other[key]:.2f}x"
            (compared if other else alone).append(row)
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
    return [pd.DataFrame(rows) for rows in tables if rows]


def machine(record: dict[str, Any]) -> str:
    """The machine that figures were measured on, and its best rates; medians over the cases."""
    machines = [case["machine"] for case in record["cases"].values()]
    rates = {key: median(rate[key] for rate in machines) for key in machines[0]}
    bf16 = f"{rates['bf16']:.0f} in bf16" if "bf16" in rates else "it has no bf16"
    return (
        f"## {processor(record)}\n\n{threads(record)}, torch "
        f"{record['versions']['torch']}, commit {record['git_commit'][:7]}, medians of "
        f"{record['repeats']} turns. Matrix products run at {rates['fp32']:.0f} GFLOP/s ({bf16}), "
        f"copies at {rates['copy']:.0f} GB/s."
    )


def processor(record: dict[str, Any]) -> str:
    """Name of the processor."""
    return str(record.get("processor", "A CPU, not named"))


def threads(record: dict[str, Any]) -> str:
    """Number of threads, and `processor time` if that was measured in place of wall-clock time."""
    number = "1 thread" if record["threads"] == 1 else f"{record['threads']} threads"
    return number + (", processor time" if record.get("clock") == "cpu" else "")
