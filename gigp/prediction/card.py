"""The model card of a released model: training data, errors and limits."""

import torch
from torch import Tensor

from gigp.datasets import QM9
from gigp.datasets.atoms import ELEMENTS
from gigp.training.record import Record

Baselines = dict[str, dict[str, float]]  # test errors by baseline and metric

LIMITS_OF_MOLECULES = """\
- Elements H, C, N, O and F; neutral molecules with up to nine heavy atoms in relaxed geometries
  (B3LYP/6-31G(2df,p)), as in QM9. Anything else is an extrapolation that the errors above say
  nothing about.
- No uncertainty is given. No cell, charge, spin or bonds are used.
- Energies are differences of large numbers: U0, U, H and G are whole energies, references of the
  atoms included."""
LIMITS_OF_DIGITS = """\
- Single handwritten digits, light on dark, 28 x 28 pixels, at any angle. A 6 and a 9 differ by
  their angle alone.
- Probabilities are not calibrated; an image without a digit gets ten of them, too."""


def make_card(name: str, record: Record, baselines: Baselines) -> str:
    """The text of README.md in the folder of a model.

    Args:
        name: name of the model.
        record: record of the run that it comes from.
        baselines: see `baseline_errors`.
    """
    data = record.data
    sizes = " / ".join(f"{size:,}" for size in data["sizes"].values())
    molecules = data["dataset"] == "qm9"
    lines = [
        f"# {name}",
        "",
        f"LieConv on {record.backbone_group} with the pool `{record.choices['pool']}`, "
        f"{record.parameters:,} parameters.",
        "",
        f"- Data: {data['dataset']} ({data['source']}); split {data['split']} "
        f"({data['split_hash']}), {sizes} for training, validation and test.",
        f"- Training: {record.epochs} epochs, learning rate {record.lr:g}, seed {record.seed}; "
        f"run `{record.name}`, commit {(record.git_commit or 'unknown')[:12]}.",
        f"- Made with torch {record.versions['torch']}, gigp {record.versions['gigp']}.",
        "",
        "## Test errors",
        "",
        "Mean absolute errors on the whole test set; percent of digits for `error`. Baselines know "
        "no network: they are fitted on the same training set.",
        "",
        *_table(record, baselines),
        "",
        "## Limits",
        "",
        LIMITS_OF_MOLECULES if molecules else LIMITS_OF_DIGITS,
        "",
        "## Use",
        "",
        "```",
        f"python predict.py run=results/models/{name} "
        f"input={'molecules.xyz' if molecules else 'digits.png'}",
        "```",
        "",
        "docs/using_models.md has formats, units, and the same in Python.",
    ]
    return "\n".join(lines) + "\n"


def _table(record: Record, baselines: Baselines) -> list[str]:
    """Rows of the table of test errors, in Markdown."""
    rows = ["| target | unit | this model | " + " | ".join(baselines) + " |"]
    rows.append("| --- | --- " + "| --- " * (1 + len(baselines)) + "|")
    for name, metric in record.metrics.items():
        errors = [metric.test, *(errors[name] for errors in baselines.values())]
        cells = " | ".join(f"{error:.4g}" for error in errors)
        rows.append(f"| {name} | {metric.unit} | {cells} |")
    return rows


def baseline_errors(data: QM9) -> Baselines:
    """Mean absolute test errors of two predictions that know no network, in the units of tables.

    Args:
        data: set up.
    """
    train, test = data.indices["train"], data.indices["test"]
    charges = data.charges.long()
    counts = torch.stack([(charges == z).sum(1) for z in ELEMENTS.values()], 1)  # (M, 5)
    one = torch.ones(len(counts), 1, dtype=torch.double)
    by_charge = torch.stack([(charges == z).sum(1) for z in range(len(data.atom_values()))], 1)
    factors = torch.tensor([target.factor for target in data.targets], dtype=torch.double)
    values = data.values.double()  # without references, which are sums over atoms themselves
    by_charge[:, 0] = 0  # padding
    whole = values + by_charge.double() @ data.atom_values()

    def errors(known: Tensor, of: Tensor) -> dict[str, float]:
        fit = torch.linalg.lstsq(known[train], of[train], driver="gelsd").solution
        absolute = (known[test] @ fit - of[test]).abs().mean(0) * factors
        return dict(zip([target.name for target in data.targets], absolute.tolist(), strict=True))

    return {
        "mean of the training set": errors(one, whole),
        "number of atoms of each element": errors(torch.cat([counts.double(), one], 1), values),
    }
