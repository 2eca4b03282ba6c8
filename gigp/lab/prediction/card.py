"""The model card of a released model: training data, errors and limits."""

from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.molecules.clouds import MoleculeClouds
from gigp.lab.prediction.release import Errors
from gigp.lab.runs.record import Record

LIMITS_OF_QM9 = """\
- Elements H, C, N, O and F; neutral molecules with up to nine heavy atoms in relaxed geometries
  (B3LYP/6-31G(2df,p)), as in QM9. Anything else is an extrapolation that the errors above say
  nothing about.
- Energies are differences of large numbers: U0, U, H and G are whole energies, references of the
  atoms included."""
LIMITS_OF_MOLECULES = """\
- Molecules like those it was trained on: the same elements, sizes, geometries and level of
  theory. Anything else is an extrapolation that the errors above say nothing about."""
ALL_MOLECULES = """\
- One prediction has no uncertainty; `run=A,B,C` gives the spread of several models.
- Ions, open shells and molecules in parts are refused; no cell is used."""
LIMITS_OF_DIGITS = """\
- Single handwritten digits, light on dark, 28 x 28 pixels, at any angle. A 6 and a 9 differ by
  their angle alone.
- Probabilities are not calibrated; an image without a digit gets ten of them, too."""
LIMITS_OF_IMAGES = """\
- Images like those it was trained on, of the same size; at any angle if they were turned in
  training.
- Probabilities are not calibrated; an image of another kind gets them, too."""
LIMITS = {
    "qm9": LIMITS_OF_QM9,
    "molecules": LIMITS_OF_MOLECULES,
    "rotmnist": LIMITS_OF_DIGITS,
    "images": LIMITS_OF_IMAGES,
}
MEASURES = {
    "classification": "Percent of wrong images on the whole test set. Baselines know no network: "
    "they are fitted on the same training images.",
    "regression": "Mean absolute errors on the whole test set. Baselines know no network: they are "
    "fits by least squares on the same training molecules.",
}
INPUTS = {"qm9": "molecules.xyz", "molecules": "molecules.xyz", "rotmnist": "digits.png"}


def make_card(
    name: str,
    record: Record,
    data: PointCloudDataModule,
    parameters: int,
    errors: Errors,
    baselines: dict[str, Errors],
    half: bool = False,
) -> str:
    """The text of README.md in the folder of a model.

    Args:
        name: name of the model.
        record: record of the run that it comes from.
        data: its data set, set up.
        parameters: number of its parameters.
        errors: test errors of the model as it is stored.
        baselines: test errors of predictions without a network, by their names.
        half: whether matrices are stored in half precision.
    """
    source, kind = record.data, record.data["dataset"]
    sizes = " / ".join(f"{size:,}" for size in source["sizes"].values())
    lines = [
        f"# {name}",
        "",
        f"LieConv on {record.backbone_group} with the pool `{record.choices['pool']}`, "
        f"{parameters:,} parameters{', matrices in half precision' if half else ''}.",
        "",
        f"- Data: {kind} ({source['source']}); split {source['split']} ({source['split_hash']}), "
        f"{sizes} for training, validation and test.",
        f"- Training: {record.epochs} epochs, learning rate {record.lr:g}, seed {record.seed}; "
        f"run `{record.name}`, commit {(record.git_commit or 'unknown')[:12]}.",
        *_frozen(record),
        f"- Made with torch {record.versions['torch']}, gigp {record.versions['gigp']}.",
        "",
        "## Test errors",
        "",
        MEASURES[data.kind],
        "",
        *_table(record, errors, baselines),
        "",
        f"The errors are those of the stored weights. They differ from those of the run by at most "
        f"{_largest_change(record, errors):.2g}%.",
        "",
        "## Limits",
        "",
        LIMITS[kind],
        *_range(data),
        "",
        "## Use",
        "",
        "```",
        f"python predict.py run=results/models/{name} input={INPUTS.get(kind, 'image.png')}",
        "```",
        "",
        "docs/using_models.md has formats, units, and the same in Python.",
    ]
    return "\n".join(lines) + "\n"


def _frozen(record: Record) -> list[str]:
    """A line about the network that the run of a model started from, if it did."""
    source = record.data.get("features_of")
    if source is None:
        return []
    trained = "pool" if source["level"] == "outputs" else "pool and head"
    return [
        f"- That run trained {record.trainable_parameters:,} parameters, {trained}, on the "
        f"{source['level']} of the frozen network `{source['run']}` for every point."
    ]


def _table(record: Record, errors: Errors, baselines: dict[str, Errors]) -> list[str]:
    """Rows of the table of test errors, in Markdown."""
    rows = ["| target | unit | this model | " + " | ".join(baselines) + " |"]
    rows.append("| --- | --- " + "| --- " * (1 + len(baselines)) + "|")
    for name, metric in record.metrics.items():
        row = [errors[name], *(known[name] for known in baselines.values())]
        cells = " | ".join(f"{error:.4g}" for error in row)
        rows.append(f"| {name} | {metric.unit} | {cells} |")
    return rows


def _largest_change(record: Record, errors: Errors) -> float:
    """Largest difference between the test errors of a model and those of its run, in percent."""
    changes = [
        abs(errors[name] - metric.test) / max(metric.test, 1e-9)
        for name, metric in record.metrics.items()
    ]
    return 100 * max(changes)


def _range(data: PointCloudDataModule) -> list[str]:
    """Lines about the sizes of the training molecules."""
    known = data.training_range if isinstance(data, MoleculeClouds) else None
    if known is None:
        return []
    return [
        ALL_MOLECULES,
        f"- All but 0.1% of the training molecules have {known.small} to {known.largest} atoms; "
        "predictions for smaller ones can be far off, and `predict.py` warns of them.",
    ]
