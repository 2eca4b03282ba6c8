"""Model folders: small, by name, and with the predictions of the runs that they come from."""

import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load, save_file

import gigp
from gigp.errors import InputError
from gigp.lab.commands.predict import follow as main
from gigp.lab.images.baselines import image_errors
from gigp.lab.molecules.baselines import molecule_errors
from gigp.lab.molecules.qm9 import QM9
from gigp.lab.molecules.readers.molecule import make_molecule
from gigp.lab.molecules.training_range import TrainingRange
from gigp.lab.prediction import Predictor
from gigp.lab.prediction.models import default_model
from gigp.lab.runs.weights import FILE, read_description, read_weights
from gigp.lab.training.load import load_trained
from gigp.lab.training.run import run
from scripts.export_model import export
from tests.conftest import DATA, ROOT, tiny
from tests.lab.prediction.conftest import head_on
from tests.programs import run_program

AMMONIA = [[0, 0, 0.12], [0, 0.94, -0.27], [0.81, -0.47, -0.27], [-0.81, -0.47, -0.27]]
WATER = [[0, 0, 0.12], [0, 0.76, -0.47], [0, -0.76, -0.47]]
METHANE = "5\nm\nC 0 0 0\nH .63 .63 .63\nH -.63 -.63 .63\nH -.63 .63 -.63\nH .63 -.63 -.63\n"


@pytest.fixture
def release(trained, tmp_path, monkeypatch):
    """Make a model of a run in a folder of models of this test."""
    monkeypatch.setattr("gigp.lab.prediction.models.MODELS", tmp_path / "models")

    def make(folder: Path, name: str = "qm9") -> Path:
        export(folder, tmp_path / "models" / name)
        return tmp_path / "models" / name

    return make


def test_a_model_predicts_as_its_run(trained, release, tmp_path, capsys):
    """With its run gone, by default, by name and by path; positions scaled as in the run."""
    folder, record = trained("mass")
    copy = tmp_path / "copy" / "seed0"
    shutil.copytree(folder, copy)
    molecule = make_molecule([*"NHHH"], AMMONIA)
    expected = Predictor(folder)([molecule])
    model = release(copy)
    shutil.rmtree(copy)
    assert {file.name for file in model.iterdir()} == {"config.yaml", FILE, "README.md"}
    assert sum(file.stat().st_size for file in model.iterdir()) < 4_000_000
    for name in ("qm9", model, str(model)):
        torch.testing.assert_close(gigp.load(name)([molecule]), expected, rtol=1e-6, atol=0)
    (tmp_path / "in.xyz").write_text(METHANE)
    for arguments in ([], ["run=qm9"], [f"run={model}"]):
        assert main([f"input={tmp_path}/in.xyz", *arguments]) == 0
        assert "U0 [meV]" in capsys.readouterr().out
    assert record.data["positions_std"] == read_description(model / FILE)["positions_std"]


@pytest.mark.slow
@pytest.mark.parametrize("level", ["features", "outputs"])
def test_a_head_and_its_backbone_become_one_model(trained, release, tmp_path, level):
    """A model with GIGP from a run on what another run with mean pooling computes."""
    backbone, _ = trained("SE3")
    options = (f"dataset={level}", "init_from=null") if level == "outputs" else ()
    head, _ = trained(f"{level}_head", *head_on(backbone, tmp_path, *options, "pool=gigp"))
    model = release(head)
    cfg, data, _ = load_trained(model, setup=False)
    assert isinstance(data, QM9)
    assert cfg.choices.pool == "gigp"
    assert not [
        value for value in yaml.safe_load((model / "config.yaml").read_text()) if "run" in value
    ]
    molecules = [
        make_molecule([*"NHHH"], AMMONIA),
        make_molecule(["H", "H"], [[0, 0, 0], [0, 0, 0.7]]),
    ]
    expected, found = Predictor(head)(molecules), Predictor(model)(molecules)
    spread = (expected[0] - expected[1]).abs()
    assert ((found - expected).abs() < 5e-3 * spread).all()  # features are kept in half precision


def test_images(trained, release, digits):
    folder, _ = trained("images")
    model = release(folder, "digits")
    images = [*digits.images[:20].float()]
    torch.testing.assert_close(gigp.load("digits")(images), Predictor(folder)(images))
    card = (model / "README.md").read_text()
    assert "Percent of wrong images" in card
    assert "| least squares on the pixels |" in card


@pytest.mark.slow
def test_half_precision_halves_the_file(trained, tmp_path):
    """And changes test errors by little, which the card states."""
    folder, _ = trained("T3")
    whole, half = tmp_path / "whole", tmp_path / "half"
    export(folder, whole)
    export(folder, half, half=True)
    sizes = [sum(v.nbytes for v in load((m / FILE).read_bytes()).values()) for m in (whole, half)]
    assert sizes[1] < 0.75 * sizes[0]  # biases and statistics of a net this small weigh as much
    molecule = make_molecule([*"NHHH"], AMMONIA)
    torch.testing.assert_close(
        gigp.load(half)([molecule]), gigp.load(whole)([molecule]), rtol=1e-2, atol=1e-2
    )
    changes = []
    for model in (whole, half):
        card = (model / "README.md").read_text()
        found = re.search(r"differ from those of the run by at most (\S+)%\.", card)
        changes.append(float(found[1]))
        assert ("matrices in half precision" in card) == (model == half)
    assert changes[0] < 1e-3 < changes[1] < 0.5


@pytest.mark.parametrize("what", ["weights", "data"])
def test_a_model_with_other_errors_is_refused(trained, tmp_path, monkeypatch, what):
    """Weights that lose too much when they are stored, and other data than those of the run."""
    folder, _ = trained("T3")
    if what == "weights":
        monkeypatch.setattr(torch.Tensor, "half", lambda x: (10 * x).round() / 10)
        message = r"on the test set is .*a model may differ by 0\.5%. Without --half"
    else:
        folder = shutil.copytree(folder.parent, tmp_path / "copy") / "seed0"
        config = (folder / "config.yaml").read_text()
        (folder / "config.yaml").write_text(config.replace("test_size: 60", "test_size: 50"))
        message = "does not fit its config.yaml: dataset.test_size: 60 there, 50 now"
    with pytest.raises(InputError, match=message):
        export(folder, tmp_path / "models" / "worse", half=True)
    assert not list((tmp_path / "models").glob("*"))


@pytest.mark.slow
def test_models_that_are_too_large(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("gigp.lab.prediction.release.LARGEST", 10_000)
    with pytest.raises(InputError, match=r"a model may have 10,000\. Try --half"):
        export(trained("E3")[0], tmp_path / "models" / "large")
    assert not list((tmp_path / "models").iterdir())


@pytest.mark.slow
def test_a_run_starts_from_a_model(trained, release, configure):
    folder, _ = trained("E3")
    model = release(folder)
    options = tiny(epochs=1, train=20, val=10, test=10)
    common = ("target=all", "freeze_backbone=true", "lr=1e-9", *options)
    records = [
        run(configure(*common, "pool=mean", f"init_from='{start}'", f"name=from_{i}"))
        for i, start in enumerate((folder, model))
    ]
    assert records[0].test_loss == records[1].test_loss


def test_the_card_says_what_a_user_needs(trained, release):
    """With the baselines that the study's tables have, fitted on the run's own training set."""
    folder, record = trained("T3")
    card = (release(folder) / "README.md").read_text()
    data = QM9(root=DATA, cache=DATA, target="all", train_size=150, val_size=40, test_size=60)
    data.setup()
    for name, metric in record.metrics.items():
        assert f"| {name} | {metric.unit} | {metric.test:.4g} | " in card
    found = molecule_errors(data)
    for text in (
        record.data["split_hash"],
        "150 / 40 / 60",
        "least squares: number of atoms of each element",
        f"| {found['counts']['homo']:.4g} | {found['moments']['homo']:.4g} | ",
        "atoms; predictions for smaller ones can be far off",
        "## Limits",
    ):
        assert text in card


def test_runs_on_own_molecules_become_models(configure, tmp_path, monkeypatch):
    """Whose folder says nothing of where their files lie."""
    path = tmp_path / "secret" / "own.xyz"
    path.parent.mkdir()
    shutil.copy(ROOT / "docs" / "examples" / "own_molecules.xyz", path)
    monkeypatch.chdir(tmp_path)
    options = ("dataset=molecules", "dataset.cache=data", f"dataset.path={path}")
    run(configure(*options, "scale=debug", "trainer.max_epochs=1", "name=own"))
    export(tmp_path / "runs" / "own" / "seed0", tmp_path / "model")
    for file in (tmp_path / "model").iterdir():
        assert b"secret" not in file.read_bytes()
    molecule = make_molecule([*"NHHH"], AMMONIA)
    expected = Predictor(tmp_path / "runs" / "own" / "seed0")([molecule])
    torch.testing.assert_close(gigp.load(tmp_path / "model")([molecule]), expected)


def test_baselines_of_images(digits):
    """The pixels tell more than the most frequent class does, of ten that are about as frequent."""
    found = image_errors(digits)
    counts = digits.labels[digits.indices["train"]].bincount()
    test = digits.labels[digits.indices["test"]]
    wrong = (test != counts.argmax()).double().mean().item()
    assert found["most frequent class"]["error"] == pytest.approx(100 * wrong)
    assert 30 < found["least squares on the pixels"]["error"] < 70


def test_the_kind_of_input_chooses_the_model(tmp_path):
    """Files, and folders of one kind, of both and of neither."""
    for name in ("m/a.xyz", "i/3.PNG", "both/a.sdf", "both/3.png", "i/notes.txt", "none/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    for path, model in (("m", "qm9"), ("m/a.xyz", "qm9"), ("both", "qm9"), ("i", "rotmnist")):
        assert default_model(tmp_path / path) == model
    assert default_model(tmp_path / "i" / "3.PNG") == "rotmnist"
    for path in ("none", "i/notes.txt", "missing.png"):
        with pytest.raises(InputError, match=r"\.xyz, .*\.png"):
            default_model(tmp_path / path)


def test_models_that_do_not_exist(release, tmp_path, capsys):
    (tmp_path / "in.xyz").write_text(METHANE)
    assert main([f"input={tmp_path}/in.xyz"]) == 2
    assert "there is no model 'qm9'. There are no models in" in capsys.readouterr().err
    with pytest.raises(InputError, match="there is no run in "):
        gigp.load(tmp_path / "nothing")


def test_a_folder_that_has_the_name_of_a_model(trained, release, tmp_path, monkeypatch):
    """A folder of data called qm9, in the folder of the user, is not the model."""
    release(trained("T3")[0])
    (tmp_path / "here" / "qm9").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert "homo [meV]" in gigp.load("qm9").columns
    with pytest.raises(InputError, match="Models here: qm9; give one of them, or the folder of a"):
        gigp.load("qm8")


@pytest.mark.slow
def test_a_warning_of_molecules_unlike_the_training_set(trained, release, tmp_path, capsys):
    """Once, on standard error, by the run and by its model; the range is that of the run."""
    folder, _ = trained("T3")
    data = load_trained(folder, setup=False)[1]
    small, largest, _ = data.training_range
    whole = QM9(root=DATA, cache=DATA, train_size=150)
    whole.setup()
    sizes = whole.counts[whole.indices["train"].numpy()]
    assert (small, largest) == (sizes.min(), sizes.max())
    (tmp_path / "in.xyz").write_text(METHANE + METHANE)
    i = int(whole.indices["train"][int(sizes.argmax())])
    atoms = zip(whole.charges[i].tolist(), whole.positions[i].tolist(), strict=True)
    inside = "".join(f"{charge} {x} {y} {z}\n" for charge, (x, y, z) in atoms if charge)
    (tmp_path / "inside.xyz").write_text(f"{largest}\nlarge\n{inside}")
    for model in (folder, release(folder)):
        done = run_program("predict.py", f"run={model}", f"input={tmp_path}/in.xyz")
        assert done.returncode == 0
        first, second = done.stderr.splitlines()
        assert first.startswith("Warning: Predictions may be far off for molecules unlike those")
        assert first.endswith(f"{small} to {largest} atoms: 2 with fewer than {small} atoms.")
        assert second == "Predicted 2 of 2."
        done = run_program("predict.py", f"run={model}", f"input={tmp_path}/inside.xyz")
        assert done.stderr.splitlines() == ["Predicted 1 of 1."]


@pytest.mark.parametrize(
    "state", [[9, 29], [9, 5, [1]], [0, 5, [1]], [1.5, 5, [1]], [1, 2, [0]], 7]
)
def test_damaged_ranges_are_refused(state):
    with pytest.raises(InputError, match="the range of the training molecules in the checkpoint"):
        TrainingRange.from_state(state)


def test_what_is_outside_a_range():
    known = TrainingRange(3, 4, (1, 8))
    water, chain = (
        make_molecule([*"OHH"], WATER),
        make_molecule(["H"] * 5, [[i, 0, 0] for i in range(5)]),
    )
    assert known.warning([water]) == ""
    pair = make_molecule(["H", "Br"], [[0, 0, 0], [0, 0, 1.4]])
    assert "1 with fewer than 3 atoms; 1 with more than 4 atoms; 1 with other elements (Br)" in (
        known.warning([water, pair, chain])
    )


def test_damaged_models_are_refused(trained, release):
    model = release(trained("T3")[0])
    file = model / FILE
    whole = file.read_bytes()
    tensors = load(whole)
    for spoil, message in (
        (lambda: file.write_bytes(whole[:-10]), "is damaged or not a model"),
        (lambda: file.write_bytes(b"\xff" * 100), "is damaged or not a model"),
        (lambda: file.write_bytes(b""), "is damaged or not a model"),
        (lambda: save_file(tensors, file), "its format is None"),
    ):
        spoil()
        with pytest.raises(InputError, match=message):
            gigp.load(model)
    file.write_bytes(whole)
    assert read_weights(file)["QM9"]["references"].dtype == torch.float64
    gigp.load(model)
