"""Model folders: small, by name, and with the predictions of the runs that they come from."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load, save_file

import gigp
from gigp.datasets import QM9
from gigp.datasets.atoms import ELEMENTS
from gigp.datasets.readers.molecule import make_molecule
from gigp.errors import InputError
from gigp.prediction import Predictor
from gigp.prediction.card import baseline_errors
from gigp.training.load import load_trained
from gigp.training.run import run
from gigp.training.weights import FILE, read_description, read_weights
from predict import main
from scripts.export_model import export
from tests.conftest import DATA, tiny
from tests.prediction.conftest import head_on

AMMONIA = [[0, 0, 0.12], [0, 0.94, -0.27], [0.81, -0.47, -0.27], [-0.81, -0.47, -0.27]]
METHANE = "5\nm\nC 0 0 0\nH .63 .63 .63\nH -.63 -.63 .63\nH -.63 .63 -.63\nH .63 -.63 -.63\n"


@pytest.fixture
def release(trained, tmp_path, monkeypatch):
    """Make a model of a run in a folder of models of this test."""
    monkeypatch.setattr("gigp.prediction.models.MODELS", tmp_path / "models")

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
    assert "percent of digits" in (model / "README.md").read_text()


def test_half_precision_halves_the_file(trained, tmp_path):
    """And changes predictions by little, which the export itself checks."""
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


def test_models_that_are_too_large(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("gigp.prediction.release.LARGEST", 10_000)
    with pytest.raises(InputError, match=r"a model may have 10,000\. Try --half"):
        export(trained("T3")[0], tmp_path / "models" / "large")
    assert not list((tmp_path / "models").iterdir())


def test_a_run_starts_from_a_model(trained, release, configure):
    folder, _ = trained("T3")
    model = release(folder)
    options = tiny(epochs=1, train=20, val=10, test=10)
    common = ("target=all", "freeze_backbone=true", "lr=1e-9", *options)
    records = [
        run(configure(*common, "pool=mean", f"init_from='{start}'", f"name=from_{i}"))
        for i, start in enumerate((folder, model))
    ]
    assert records[0].test_loss == records[1].test_loss


def test_the_card_says_what_a_user_needs(trained, release):
    folder, record = trained("T3")
    card = (release(folder) / "README.md").read_text()
    for name, metric in record.metrics.items():
        assert f"| {name} | {metric.unit} | {metric.test:.4g} | " in card
    for text in (
        record.data["split_hash"],
        "150 / 40 / 60",
        "mean of the training set",
        "## Limits",
    ):
        assert text in card


def test_baselines_are_least_squares_on_counts(qm9):
    """As a fit by hand on whole properties gives them, whatever reference is subtracted."""
    sizes = {"train_size": 300, "val_size": 10, "test_size": 200}
    data = QM9(root=DATA, cache=DATA, target=["U0", "homo"], reference="composition", **sizes)
    data.setup()
    found = baseline_errors(data)
    charges, parts = qm9.charges.long(), data.indices
    known = torch.stack(
        [(charges == z).sum(1) for z in ELEMENTS.values()] + [torch.ones(len(charges))], 1
    )
    known = known.double()
    for name, column in (("U0", 7), ("homo", 2)):
        whole = torch.from_numpy(qm9._arrays()["targets"][:, column])
        fit = torch.linalg.lstsq(known[parts["train"]], whole[parts["train"]][:, None]).solution
        error = (known[parts["test"]] @ fit).squeeze(1) - whole[parts["test"]]
        assert found["number of atoms of each element"][name] == pytest.approx(
            1000 * error.abs().mean().item(), rel=1e-3
        )
        mean = (whole[parts["test"]] - whole[parts["train"]].mean()).abs().mean().item()
        assert found["mean of the training set"][name] == pytest.approx(1000 * mean, rel=1e-3)


def test_models_that_do_not_exist(release, tmp_path, capsys):
    (tmp_path / "in.xyz").write_text(METHANE)
    assert main([f"input={tmp_path}/in.xyz"]) == 2
    assert "there is no model 'qm9'. There are no models in" in capsys.readouterr().err
    with pytest.raises(InputError, match="there is no run in "):
        gigp.load(tmp_path / "nothing")


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
