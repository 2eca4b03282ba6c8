"""Several models or orientations: the mean of their predictions, and how far they spread."""

import csv
import io
import shutil
from types import SimpleNamespace

import pytest
import torch

import gigp
from gigp.errors import InputError
from gigp.lab.commands.predict import follow as main
from gigp.lab.molecules.readers.molecule import Molecule
from gigp.lab.prediction import Predictor
from gigp.lab.prediction.models import MODELS, split_names
from gigp.lab.prediction.predictor import _check_alike
from gigp.lab.training.rotations import cube_rotations

SEEDS = [MODELS / "qm9_backbone_medium" / f"seed{seed}" for seed in (0, 1)]
DIGITS = [MODELS / "rotmnist_backbone_medium" / f"seed{seed}" for seed in (0, 1)]


@pytest.fixture(scope="module")
def molecules(qm9):
    where = qm9.indices["val"][:3].tolist()
    clouds = [(qm9.charges[i][qm9.mask[i]], qm9.positions[i][qm9.mask[i]]) for i in where]
    return [Molecule(charges.long(), pos.double()) for charges, pos in clouds]


def test_several_models_predict_their_mean_and_spread(molecules):
    each = torch.stack([Predictor(seed)(molecules) for seed in SEEDS])
    both = gigp.load(SEEDS)
    assert both.columns[:3] == ["mu [D]", "alpha [bohr^3]", "homo [meV]"]
    assert both.columns[12:15] == ["mu_spread [D]", "alpha_spread [bohr^3]", "homo_spread [meV]"]
    torch.testing.assert_close(both(molecules), torch.cat([each.mean(0), each.std(0)], 1))
    assert both(molecules[:0]).shape == (0, 24)


def test_rotations_of_one_model_are_those_by_hand(molecules):
    every = [
        Predictor(SEEDS[0])([m._replace(positions=m.positions @ turn.mT) for m in molecules])
        for turn in cube_rotations()[:3]
    ]
    every = torch.stack(every)
    turned = Predictor(SEEDS[0], rotations=3)
    assert turned.columns[14] == "homo_spread [meV]"
    expected = torch.cat([every.mean(0), every.std(0)], 1)
    torch.testing.assert_close(turned(molecules), expected, rtol=1e-5, atol=1e-3)
    assert (turned(molecules)[:, 14] > 1).all()


def test_spread_of_turned_models_is_that_of_their_means(molecules):
    each = torch.stack([Predictor(seed, rotations=2)(molecules)[:, :12] for seed in SEEDS])
    found = gigp.load(SEEDS, rotations=2)(molecules)
    torch.testing.assert_close(found, torch.cat([each.mean(0), each.std(0)], 1))


def test_rotations_do_not_change_an_invariant_model(molecules, caplog):
    turned = gigp.load("qm9", rotations=24)
    assert "is exactly invariant: rotations=24 changes nothing, and the spread is 0." in caplog.text
    expected = gigp.load("qm9")(molecules)
    assert torch.equal(turned(molecules), torch.cat([expected, torch.zeros(3, 12).double()], 1))


def test_images(digits):
    """Half a turn is exact, so both halves give the same for an image and its half turn."""
    images = [*digits.images[:2].float()]
    both = gigp.load(DIGITS)
    assert both.columns[11] == "probability_spread of 0"
    each = torch.stack([model.predict(images)[0] for model in both.models])
    found = both(images)
    assert torch.equal(found[:, 0], each.mean(0).argmax(1).double())
    torch.testing.assert_close(found[:, 1:], torch.cat([each.mean(0), each.std(0)], 1))
    half = torch.rot90(images[0], 2, (0, 1))
    for turned in both.models[0].predict([images[0], half], rotations=2):
        torch.testing.assert_close(turned[0], turned[1], atol=1e-4, rtol=0)


def test_a_table_of_several_models(molecules, tmp_path, capsys):
    (tmp_path / "in.xyz").write_text("3\nw\nO 0 0 .12\nH 0 .76 -.47\nH 0 -.76 -.47\n2\nno\nH 0 0\n")
    runs = ",".join(map(str, SEEDS))
    assert main([f"input={tmp_path}/in.xyz", f"run={runs}", "rotations=2"]) == 1
    good, bad = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert float(good["homo [meV]"]) < -5000
    assert float(good["homo_spread [meV]"]) > 0
    assert len(good["homo_spread [meV]"]) < 7  # a spread of two has no more digits
    assert bad["homo_spread [meV]"] == ""
    for rotations, said in (("1", "it must be 0, or 2 to 24"), ("-1", "must be a whole number")):
        assert main([f"input={tmp_path}/in.xyz", f"rotations={rotations}"]) == 2
        assert f"rotations={rotations}: it must be" in capsys.readouterr().err, said


def test_models_that_do_not_fit_together(tmp_path):
    with pytest.raises(InputError, match=f"{SEEDS[0]} is given twice; a spread is that of"):
        gigp.load([SEEDS[0], "qm9_backbone_medium/seed0"])
    with pytest.raises(InputError, match="run= names no model"):
        gigp.load([])

    def model(run: str, kind: str, *names: str) -> SimpleNamespace:
        (tmp_path / run).touch()
        return SimpleNamespace(run=tmp_path / run, inputs=SimpleNamespace(kind=kind, names=names))

    first = model("a", "molecules", "homo [meV]", "mu [D]")
    _check_alike([first, model("b", "molecules", "mu [D]", "homo [meV]")])
    for other, message in (
        (
            model("c", "images", "mu [D]"),
            "a takes molecules, .*c takes images; several models must",
        ),
        (
            model("d", "molecules", "mu [D]"),
            r"a predicts homo \[meV\], .*d no more; .* same targets",
        ),
        (
            model("e", "molecules", "homo [eV]", "mu [D]"),
            r"a predicts homo \[meV\], .*e homo \[eV\];",
        ),
    ):
        with pytest.raises(InputError, match=message):
            _check_alike([first, other])


def test_targets_in_another_order(molecules, monkeypatch):
    both = Predictor(SEEDS)
    expected, other = both(molecules), both.models[1]
    predict = other.predict
    monkeypatch.setattr(other, "predict", lambda *a: tuple(x.flip(1) for x in predict(*a)))
    monkeypatch.setattr(other.inputs, "names", other.inputs.names[::-1])
    monkeypatch.setattr(both, "extrapolate", True)
    torch.testing.assert_close(both(molecules), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("qm9", ["qm9"]),
        ("qm9,rotmnist, qm9", ["qm9", "rotmnist", "qm9"]),
        ("{tmp}/a,b", ["{tmp}/a,b"]),
        ("{tmp}/a,b,{tmp}/c=1,qm9", ["{tmp}/a,b", "{tmp}/c=1", "qm9"]),
        ("{tmp}/nowhere,qm9", ["{tmp}/nowhere", "qm9"]),
    ],
)
def test_commas_between_names_and_within_paths(tmp_path, text, names):
    for name in ("a,b", "c=1"):
        (tmp_path / name).mkdir()
    assert split_names(text.format(tmp=tmp_path)) == [name.format(tmp=tmp_path) for name in names]


@pytest.mark.parametrize("text", ["qm9,", ",qm9", "qm9,,rotmnist"])
def test_a_name_is_missing(text):
    with pytest.raises(InputError, match="a name is missing; several models are written run=A,B"):
        gigp.load(text)


def test_paths_with_commas_on_the_command_line(tmp_path, capsys):
    (tmp_path / "in.xyz").write_text("3\nw\nO 0 0 .12\nH 0 .76 -.47\nH 0 -.76 -.47\n")
    folders = [tmp_path / name for name in ("a,b=1", "c,d")]
    for seed, folder in zip(SEEDS, folders, strict=True):
        shutil.copytree(seed, folder)
    assert main([f"input={tmp_path}/in.xyz", f"run={folders[0]}"]) == 0
    assert "homo_spread" not in capsys.readouterr().out
    assert main([f"input={tmp_path}/in.xyz", f"run={folders[0]},{folders[1]}"]) == 0
    assert "homo_spread" in capsys.readouterr().out
