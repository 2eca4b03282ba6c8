"""Predictions from files: those of the run's own test pass, without its data set, in whatever
batches.
"""

import csv
import io
import re

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from gigp.errors import InputError
from gigp.groups import E3
from gigp.lab.commands.predict import follow as main
from gigp.lab.data.targets import TARGETS
from gigp.lab.images.rotmnist import RotMNIST
from gigp.lab.molecules.atoms import ELEMENTS
from gigp.lab.molecules.qm9 import QM9
from gigp.lab.molecules.readers.molecule import Molecule, make_molecule
from gigp.lab.prediction import Predictor, predict
from gigp.lab.training.load import load_trained
from gigp.lab.training.run import run
from tests.conftest import ROOT
from tests.lab.prediction.conftest import SMALL, head_on
from tests.programs import run_program

MOLECULES = [
    *("E3", "T3", "SE3", "mass", "schnet"),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("visnet", "dimenet")),
]
METHANE = "5\nmethane\nC 0 0 0\nH .63 .63 .63\nH -.63 -.63 .63\nH -.63 .63 -.63\nH .63 -.63 -.63\n"


def rows_of(table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table)))


def as_xyz(qm9: QM9, indices: torch.Tensor) -> str:
    """Molecules of the data set as a file, to the last digit."""
    symbols, frames = {charge: symbol for symbol, charge in ELEMENTS.items()}, []
    for i in indices.tolist():
        charges, positions = (
            qm9.charges[i][qm9.mask[i]].tolist(),
            qm9.positions[i][qm9.mask[i]].tolist(),
        )
        atoms = [
            f"{symbols[z]} {x!r} {y!r} {w!r}"
            for z, (x, y, w) in zip(charges, positions, strict=True)
        ]
        frames.append("\n".join([str(len(atoms)), f"gdb {i}", *atoms]))
    return "\n".join(frames) + "\n"


def totals(qm9: QM9, indices: torch.Tensor, names: list[str]) -> np.ndarray:
    """Whole properties as the source lists them, in the units of tables."""
    columns = [list(TARGETS).index(name) for name in names]
    return qm9._arrays()["targets"][indices][:, columns] * [TARGETS[name].factor for name in names]


def test_the_models_that_come_with_the_project(qm9, digits, tmp_path, capsys):
    """Errors as on their cards: molecules, and digits at random angles, each by its own default."""
    indices = qm9.indices["test"][:200]
    (tmp_path / "test.xyz").write_text(as_xyz(qm9, indices))
    assert main([f"input={tmp_path}/test.xyz"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    found = np.array([[float(row["homo [meV]"]), float(row["U0 [meV]"])] for row in rows])
    errors = np.abs(found - totals(qm9, indices, ["homo", "U0"])).mean(0)
    assert (errors < [85, 65]).all(), errors
    chosen = digits.indices["test"][:300]
    np.save(tmp_path / "digits.npy", digits.images[chosen].numpy())
    assert main([f"input={tmp_path}/digits.npy"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    found = np.array([int(row["digit"]) for row in rows])
    assert (found != digits.labels[chosen].numpy()).mean() < 0.05


@pytest.mark.parametrize("name", MOLECULES)
def test_predictions_are_those_of_the_test_pass(trained, qm9, tmp_path, name):
    """Whole properties from a file differ from the data set's by just the errors that stand in the
    record.
    """
    folder, summary = trained(name)
    indices = qm9.indices["test"][:60]
    (tmp_path / "test.xyz").write_text(as_xyz(qm9, indices))
    table, entries = predict(folder, tmp_path / "test.xyz")
    rows, metrics = rows_of(table), summary.metrics
    assert (
        [entry.name for entry in entries]
        == [f"gdb {i}" for i in indices.tolist()]
        == [row["name"] for row in rows]
    )
    columns = {target: f"{target} [{metric.unit}]" for target, metric in metrics.items()}
    assert list(rows[0]) == ["file", "number", "name", *columns.values(), "error"]
    values = np.array([[float(row[column]) for column in columns.values()] for row in rows])
    error = np.abs(values - totals(qm9, indices, list(columns))).mean(0)
    np.testing.assert_allclose(error, [metric.test for metric in metrics.values()], rtol=1e-4)


@pytest.mark.parametrize("name", MOLECULES)
def test_one_by_one_is_as_in_a_batch(trained, qm9, name):
    """To all the digits that are printed, though products of other sizes add in another order."""
    folder, _ = trained(name)
    inputs = [
        Molecule(qm9.charges[i][qm9.mask[i]].long(), qm9.positions[i][qm9.mask[i]].double())
        for i in qm9.indices["val"][:30].tolist()
    ]
    together, alone = (Predictor(folder, batch_size)(inputs) for batch_size in (30, 1))
    cells = Predictor(folder).inputs.cells
    assert [cells(row) for row in alone.tolist()] == [cells(row) for row in together.tolist()]
    large = Molecule(
        torch.ones(100, dtype=torch.long), 5 * torch.randn(100, 3, dtype=torch.float64)
    )
    anything = Predictor(folder, check=False, extrapolate=True)
    mixed = anything([large, *inputs[:20], large, *inputs[20:]])
    torch.testing.assert_close(torch.cat([mixed[1:21], mixed[22:]]), together, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("of", "overrides"),
    [
        # another scale of positions than the run's
        ("mass", ["pool=gigp", "dataset.train_size=400"]),
        pytest.param(
            "T3",
            ["pool=gigp", "dataset.changes={recenter: true, center: mass}", "orbits.center=origin"],
            marks=pytest.mark.slow,
        ),
        *[
            pytest.param("T3", [f"pool={pool}"], marks=pytest.mark.slow)
            for pool in ("gigp", "set2set", "set_transformer", "multi", "quantiles")
        ],
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_heads_on_features_predict_with_the_backbone_they_were_trained_on(
    trained, qm9, tmp_path, of, overrides
):
    folder, _ = trained(of)
    head, summary = trained(f"head_{tmp_path.name}", *head_on(folder, tmp_path, *overrides))
    indices = qm9.indices["test"][:60]
    (tmp_path / "test.xyz").write_text(as_xyz(qm9, indices))
    rows = rows_of(predict(head, tmp_path / "test.xyz", extrapolate=True)[0])
    error = [float(row["U0 [meV]"]) for row in rows] - totals(qm9, indices, ["U0"])[:, 0]
    assert np.abs(error).mean() == pytest.approx(summary.metrics["U0"].test, rel=1e-4)


@pytest.mark.slow
def test_heads_on_heads_on_features(trained, qm9, tmp_path):
    folder, _ = trained("T3")
    first, _ = trained("first", *head_on(folder, tmp_path))
    second, summary = trained("second", *head_on(first, tmp_path))
    indices = qm9.indices["test"][:60]
    (tmp_path / "test.xyz").write_text(as_xyz(qm9, indices))
    rows = rows_of(predict(second, tmp_path / "test.xyz")[0])
    error = [float(row["homo [meV]"]) for row in rows] - totals(qm9, indices, ["homo"])[:, 0]
    assert np.abs(error).mean() == pytest.approx(summary.metrics["homo"].test, rel=1e-4)


def test_a_head_does_not_predict_with_a_backbone_trained_anew(trained, configure, tmp_path):
    small = ("target=homo", "pool=mean", *SMALL)
    folder, _ = trained("again", *small)
    head, _ = trained("on_again", *head_on(folder, tmp_path))
    Predictor(head)
    run(
        configure(
            *small,
            "name=again",
            f"results_dir={folder.parents[1]}",
            "overwrite=true",
            "lr=1e-5",
        )
    )
    with pytest.raises(
        InputError,
        match=r"on_again/seed0 was trained on features of .*again/seed0, whose checkpoint",
    ):
        Predictor(head)
    (head / "summary.json").unlink()
    with pytest.raises(InputError, match=r"summary\.json cannot be read"):
        Predictor(head)


@pytest.mark.parametrize("kind", ["npy", "png"])
def test_images(trained, digits, tmp_path, kind):
    folder, summary = trained("images")
    chosen = digits.indices["test"][:60]
    images, labels = digits.images[chosen].numpy(), digits.labels[chosen]
    if kind == "npy":
        np.save(tmp_path / "in.npy", images)
    else:
        for i, pixels in enumerate(images):
            Image.fromarray(pixels).save(tmp_path / f"{i:03}.png")
    rows = rows_of(
        predict(folder, tmp_path / "in.npy" if kind == "npy" else tmp_path, batch_size=7)[0]
    )
    said = torch.tensor([int(row["digit"]) for row in rows])
    assert 100 * float((said != labels).float().mean()) == pytest.approx(
        summary.metrics["error"].test
    )
    _, data, task = load_trained(folder)
    with torch.no_grad():
        expected = task(data.prepare_batch(data.get_batch(data.indices["test"]), augment=False)[0])
    given = torch.tensor(
        [[float(row[f"probability of {digit}"]) for digit in range(10)] for row in rows]
    )
    torch.testing.assert_close(given, expected, rtol=0, atol=6e-5)  # with the digits of the table


def test_needs_no_data_set(trained, tmp_path, monkeypatch):
    folder, _ = trained("SE3")
    images, _ = trained("images")
    for module in (QM9, RotMNIST):
        for method in ("setup", "prepare_data"):
            monkeypatch.setattr(module, method, lambda self: pytest.fail("the data set was read"))
    (tmp_path / "methane.xyz").write_text(METHANE)
    (row,) = rows_of(predict(folder, tmp_path / "methane.xyz")[0])
    assert -1.2e6 < float(row["U0 [meV]"]) < -0.9e6
    image = Image.new("L", (28, 28))
    image.paste(255, (10, 10, 12, 20))
    image.save(tmp_path / "one.png")
    assert len(predict(images, tmp_path / "one.png")[1]) == 1


def test_good_ones_are_predicted_and_bad_ones_listed(trained, tmp_path, capsys):
    folder, _ = trained("T3")
    source, table = tmp_path / "mixed.xyz", tmp_path / "out.csv"
    source.write_text(
        METHANE + METHANE.replace("C 0", "Si 0") + METHANE.replace("C 0", "C nan") + METHANE
    )
    capsys.readouterr()
    assert main([f"run={folder}", f"input={source}", f"output={table}"]) == 1
    rows, said = rows_of(table.read_text()), capsys.readouterr()
    assert said.out == ""
    assert [row["number"] for row in rows] == ["1", "2", "3", "4"]
    assert (
        [bool(row["error"]) for row in rows]
        == [not row["homo [meV]"] for row in rows]
        == [False, True, True, False]
    )
    assert rows[0]["U0 [meV]"] == rows[3]["U0 [meV]"]
    assert (
        f"{source}, 2 (methane): element Si is unknown to models of QM9, which know H, C, N, O, F."
        in said.err
    )
    assert "the position of atom 1 is not finite" in said.err
    assert said.err.endswith("Predicted 2 of 4.\n")
    source.write_text(METHANE)
    assert main([f"run={folder}", f"input={source}"]) == 0
    assert rows_of(capsys.readouterr().out)[0]["U0 [meV]"] == rows[0]["U0 [meV]"]
    source.write_text(METHANE.replace("C 0", "Si 0"))
    assert main([f"run={folder}", f"input={source}"]) == 2
    assert "element Si" in rows_of(capsys.readouterr().out)[0]["error"]


@pytest.mark.parametrize("comment", ["charge=1", "total_charge=-2.0", 'net_charge="+1"'])
def test_ions_are_not_predicted_as_molecules(trained, tmp_path, comment):
    folder, _ = trained("T3")
    text = METHANE.replace("methane", comment) + METHANE.replace("methane", "charge=0")
    (tmp_path / "in.xyz").write_text(text + METHANE.replace("methane", "charge=unknown"))
    errors = [entry.error for entry in predict(folder, tmp_path / "in.xyz")[1]]
    assert "models of QM9 know neutral molecules only" in errors[0]
    assert errors[1:] == ["", ""]


def test_one_that_fails_costs_no_other(trained, tmp_path, monkeypatch):
    """Such as one whose features half precision cannot hold, found in the middle of a batch."""
    folder, _ = trained("T3")
    predictions = Predictor.__call__

    def refuse(self, inputs):
        if any(len(molecule.charges) == 2 for molecule in inputs):
            raise InputError("too large a feature.")
        return predictions(self, inputs)

    monkeypatch.setattr(Predictor, "__call__", refuse)
    bad = "2\nbad\nH 0 0 0\nH 0 0 .74\n"
    (tmp_path / "in.xyz").write_text(METHANE * 2 + bad + METHANE * 3)
    table, entries = predict(folder, tmp_path / "in.xyz")
    errors = ["", "", "too large a feature.", "", "", ""]
    assert [entry.error for entry in entries] == errors
    assert [bool(row["U0 [meV]"]) for row in rows_of(table)] == [not error for error in errors]


@pytest.mark.parametrize("name", MOLECULES)
def test_molecules_far_from_the_origin(trained, name):
    """Predicted as near it, by models that do not know the origin or center first."""
    folder, _ = trained(name)
    atoms = torch.tensor(
        [[float(word) for word in line.split()[1:]] for line in METHANE.splitlines()[2:]]
    )
    near, far = (
        Predictor(folder)([make_molecule(["C", *"HHHH"], (atoms.double() + by).tolist())])
        for by in (0.0, 1e7)
    )
    torch.testing.assert_close(far, near, rtol=2e-7, atol=1e-4)


def test_orientation_changes_predictions_of_offsets_alone(trained, qm9):
    """With E(3) by at most 1e-4 of the standard deviation of any target; with T(3) by far more."""
    where = qm9.indices["test"][:40].tolist()
    clouds = [(qm9.charges[i][qm9.mask[i]], qm9.positions[i][qm9.mask[i]].double()) for i in where]
    turns = E3().random(len(clouds), dtype=torch.float64)[:, :3, :3]
    molecules = [Molecule(charges.long(), pos) for charges, pos in clouds]
    turned = [
        Molecule(charges.long(), pos @ turn.mT)
        for (charges, pos), turn in zip(clouds, turns, strict=True)
    ]
    change = {}
    for group in ("E3", "T3"):
        predict_all = Predictor(trained(group)[0])
        still = predict_all(molecules)
        change[group] = (predict_all(turned) - still).abs().max(0).values / still.std(0)
    assert change["E3"].max() < 1e-4
    assert change["T3"].max() > 0.1


def test_numbers_that_are_not_finite_are_an_error(trained, tmp_path, monkeypatch):
    folder, _ = trained("T3")
    predictions = Predictor.__call__

    def spoiled(self, inputs):
        values = predictions(self, inputs)
        values[1, 3] = np.nan
        return values

    monkeypatch.setattr(Predictor, "__call__", spoiled)
    (tmp_path / "two.xyz").write_text(METHANE * 2)
    table, entries = predict(folder, tmp_path / "two.xyz")
    assert [bool(entry.error) for entry in entries] == [False, True]
    assert "no finite number" in rows_of(table)[1]["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run={run}", "imput=x.xyz"], "'imput' is not an option. Did you mean input=?"),
        (["run={run}"], "input= is missing"),
        (
            ["run={run}", "x.xyz"],
            "'x.xyz' is not of the form option=value; write python predict.py input=FILE",
        ),
        (["run={run}/checkpoints/best.ckpt", "input=x.xyz"], "Did you mean {run}?"),
        (["run={run}", "input="], "input= has no value"),
        (["run={run}", "input=nowhere.xyz"], "there is no input=nowhere.xyz"),
        (["run={run}", "input={tmp}"], "holds no file that ends in .xyz"),
        (
            ["run={run}", "input={tmp}/file.docx"],
            "cannot be read here: give a file that ends in .xyz",
        ),
        (["run={run}", "input={tmp}/empty.xyz"], "is empty: it holds nothing to predict"),
        (
            ["run={run}", "input={tmp}/empty.xyz", "batch_size=many"],
            "batch_size=many: it must be a positive integer",
        ),
        *(
            (["run={run}", "input={tmp}/empty.xyz", f"batch_size={size}"], "a positive integer")
            for size in ("0", "-1", "٣", "9" * 5000)
        ),
        (["run={run}", "input=a.xyz", "input=b.xyz"], "input= is given twice"),
        (
            ["run={run}", "input={tmp}/empty.xyz", "output={tmp}/no/out.csv"],
            "name a file in a folder that exists",
        ),
        (
            ["run={run}", "input={tmp}/empty.xyz", "output={tmp}/empty.xyz"],
            "is the input; name another file",
        ),
        (["run={run}/../seed9", "input=x.xyz"], "there is no run in "),
        (["run={run}/..", "input=x.xyz"], "Did you mean {run}/../seed0?"),
        (["run={typo}", "input=x.xyz"], "Did you mean {run}?"),
        (
            ["run={bare}", "input=x.xyz"],
            "the record of a run that was trained elsewhere. Train it here first.",
        ),
        (["run={tmp}/broken", "input=x.xyz"], "is damaged or not the config.yaml of a run"),
    ],
)
def test_mistakes_end_in_one_line(trained, tmp_path, capsys, monkeypatch, arguments, message):
    folder, _ = trained("SE3")
    for path in ("empty.xyz", "file.docx"):
        where = tmp_path / "in" / path
        where.parent.mkdir(exist_ok=True)
        where.touch()
    (tmp_path / "in" / "broken").mkdir()
    (tmp_path / "in" / "broken" / "config.yaml").write_text("dataset: [")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.yaml").write_text((folder / "config.yaml").read_text())
    if "input={tmp}" in arguments:
        (tmp_path / "in" / "empty.xyz").unlink()
    names = {"run": folder, "tmp": tmp_path / "in", "bare": tmp_path / "bare"}
    names["typo"] = folder.parent.with_name("SE33") / "seed0"
    capsys.readouterr()
    assert main([argument.format(**names) for argument in arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message.format(**names) in said.err
    assert said.err.startswith("Error: ")
    assert said.err.count("\n") == 1


def test_a_configuration_cannot_call_what_it_likes(trained, tmp_path):
    """A run's folder may come from anyone."""
    folder, _ = trained("T3")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    calls = [
        {"_target_": "pathlib.Path.touch", "self": str(tmp_path / "touched")},
        {
            "_target_": "gigp.lab.runs.provenance.subprocess.run",
            "args": ["touch", str(tmp_path / "touched")],
        },
        {
            "_target_": "gigp.lab.files.write_atomically",
            "path": str(tmp_path / "touched"),
            "text": "",
        },
    ]
    for call in calls:
        for bad in ({"group": call}, {"pool": {**config["pool"], "group": call}}):
            (tmp_path / "config.yaml").write_text(yaml.safe_dump(config | bad))
            with pytest.raises(
                InputError, match=f"asks for '{call['_target_']}', which is not a model"
            ):
                load_trained(tmp_path, setup=False)
    assert not (tmp_path / "touched").exists()


def test_synthetic_clouds_have_no_files(trained):
    folder, _ = trained(
        "clouds", "dataset=orbits", "scale=debug", "trainer.max_epochs=1", "trainer.accelerator=cpu"
    )
    with pytest.raises(
        InputError, match="is a run on OrbitClouds; give a run on molecules or images"
    ):
        Predictor(folder)


def test_command_line(trained, tmp_path):
    """As a user calls it, from another folder."""
    folder, _ = trained("T3")
    (tmp_path / "methane.xyz").write_text(METHANE)
    done = run_program("predict.py", f"run={folder}", "input=methane.xyz", cwd=tmp_path)
    assert done.returncode == 0
    warning, told = done.stderr.splitlines()
    assert re.match(
        r"Warning: Predictions may be far off .*: 1 with fewer than \d+ atoms\.$", warning
    )
    assert told == "Predicted 1 of 1."
    assert float(rows_of(done.stdout)[0]["U0 [meV]"]) < -0.9e6


def test_help_says_the_exit_status(capsys):
    assert main(["--help"]) == 0
    assert "Exit status: 0, everything" in capsys.readouterr().out
    assert main([]) == 2


@pytest.mark.parametrize(("name", "number"), [("T3", 0), ("images", 1)])
def test_examples_of_the_documentation(trained, tmp_path, monkeypatch, name, number):
    folder, _ = trained(name)
    monkeypatch.chdir(tmp_path)
    blocks = (ROOT / "docs" / "using_models.md").read_text().split("```python\n")[1:]
    made: dict = {}
    exec(blocks[number].partition("```")[0].replace("results/runs/NAME/seed0", str(folder)), made)
    if name == "T3":
        assert made["values"].shape == (1, len(made["predictor"].columns))
    else:
        assert (tmp_path / "digits.pt2").stat().st_size > 0


def test_predictions_do_not_depend_on_the_state_of_the_process(trained, qm9):
    """Whatever a program has set before, and after the model was loaded."""
    folder, _ = trained("T3")
    inputs = [
        Molecule(qm9.charges[i][qm9.mask[i]].long(), qm9.positions[i][qm9.mask[i]].double())
        for i in qm9.indices["val"][:3].tolist()
    ]
    expected = Predictor(folder)(inputs)
    early = Predictor(folder)
    products = torch.get_float32_matmul_precision()
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.enable_grad():
            late = Predictor(folder)
            found = [early(inputs), late(inputs)]
        assert torch.get_default_dtype() == torch.float64
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_default_dtype(torch.float32)
        torch.use_deterministic_algorithms(False)
        torch.set_float32_matmul_precision(products)
    for values in found:
        assert torch.equal(values, expected)
        assert not values.requires_grad


def test_numbers_far_outside_the_training_targets_are_an_error(trained, tmp_path):
    folder, _ = trained("T3")
    (tmp_path / "in.xyz").write_text(METHANE)
    predictor = Predictor(folder)
    (row,) = predictor([make_molecule(["C", *"HHHH"], np.array(SHAPE))]).tolist()
    assert predictor.inputs.far_outside(torch.tensor([row]).double(), [methane()]) == [""]
    column = predictor.columns.index("homo [meV]")
    row[column] = -242_572
    (said,) = predictor.inputs.far_outside(torch.tensor([row]).double(), [methane()])
    assert "homo would be -242,572 meV, far outside what the molecules of QM9 have" in said
    assert "extrapolate=true gives it all the same" in said


def test_unchecked_molecules_are_marked(trained, tmp_path, capsys):
    folder, _ = trained("T3")
    (tmp_path / "in.xyz").write_text(METHANE.replace("methane", "charge=1") + METHANE)
    capsys.readouterr()
    assert main([f"run={folder}", f"input={tmp_path}/in.xyz"]) == 1
    first, second = rows_of(capsys.readouterr().out)
    assert (bool(first["error"]), second["error"]) == (True, "")
    assert "unchecked" not in first
    assert main([f"run={folder}", f"input={tmp_path}/in.xyz", "check=false"]) == 0
    first, second = rows_of(capsys.readouterr().out)
    assert "models of QM9 know neutral molecules only" in first["unchecked"]
    assert second["unchecked"] == first["error"] == second["error"] == ""
    assert float(first["homo [meV]"]) == float(second["homo [meV]"])
    assert main([f"run={folder}", f"input={tmp_path}/in.xyz", "check=no"]) == 2
    assert "check=no: it must be true or false" in capsys.readouterr().err


SHAPE = [[0, 0, 0], [0.63, 0.63, 0.63], [-0.63, -0.63, 0.63], [-0.63, 0.63, -0.63]]
SHAPE += [[0.63, -0.63, -0.63]]


def methane() -> Molecule:
    return make_molecule(["C", *"HHHH"], SHAPE)
