"""The page of orbits: what they add is the prediction, and what cannot be shown is refused."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import gigp
from gigp.backbones.identity import Identity
from gigp.backbones.lieconv import LieResNet
from gigp.errors import InputError
from gigp.groups import SE3, SO3, T, Tx
from gigp.lab.commands.explain import follow, parse
from gigp.lab.model import PointCloudModel
from gigp.lab.molecules.readers.molecule import Molecule
from gigp.lab.prediction.explain import explain
from gigp.lab.prediction.explain import page as explain_page
from gigp.lab.prediction.explain.orbit_sums import check_model, orbit_sum
from gigp.lab.prediction.steady import steady_state
from gigp.lab.prediction.trained import TrainedModel
from gigp.pointcloud import PointCloud
from gigp.pools import GIGP, MeanPool
from gigp.pools.controls import ShuffledGIGP
from tests.conftest import ROOT
from tests.lab.prediction.conftest import head_on

DOZEN = ROOT / "docs/examples/dozen.xyz"
METHANE = "5\nmethane\nC 0 0 0\nH .63 .63 .63\nH -.63 -.63 .63\nH -.63 .63 -.63\nH .63 -.63 -.63\n"


@pytest.fixture(scope="module")
def loaded():
    """The models that come along, which each call of the module would load again."""
    return {name: gigp.load(name, check=False) for name in ("qm9", "rotmnist")}


@pytest.fixture
def quick(monkeypatch, loaded):
    """Pages of models that are loaded already."""
    monkeypatch.setattr(explain_page, "load", lambda name, **_: loaded[name])


def content_of(html: str) -> dict:
    """What the page draws."""
    (text,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', html, re.S)
    return json.loads(text)


def sums(item: dict) -> np.ndarray:
    """What an item's orbits and constants add up to, (T,)."""
    return np.sum(item["adds"], 1) + sum(np.array(values) for _, values in item["constants"])


def test_molecules_add_up_to_what_is_predicted(quick, loaded):
    html, entries = explain("qm9", DOZEN)
    page = content_of(html)
    assert len(html) < 300_000
    assert "http" not in html.replace("http://www.w3.org", "")
    assert [entry.error for entry in entries] == [""] * 12
    assert [target["name"] for target in page["targets"]][:3] == ["mu", "alpha", "homo"]
    for item in page["items"]:
        predicted = np.array(item["values"])
        np.testing.assert_allclose(sums(item), predicted, rtol=1e-6)
        own, *others = np.array(item["turned"])
        np.testing.assert_allclose(own, predicted, rtol=1e-9)
        scale = np.abs(item["adds"]).max(1)
        for turned, matrix in zip(others, item["orientations"][1:], strict=True):
            np.testing.assert_allclose(turned, own, atol=(1e-4 * scale).max(), rtol=1e-9)
            turn = np.reshape(matrix, (3, 3))
            np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-4)
        atoms = np.array(item["atoms"])
        np.testing.assert_allclose(np.linalg.norm(atoms[:, 1:4], axis=1), atoms[:, 4], atol=1e-3)
        shares = [sum(share for _, share in row) for row in item["members"]]
        np.testing.assert_allclose(shares, 1, atol=0.02)
        np.testing.assert_allclose(sum(item["counts"]), len(atoms), rtol=1e-3)


def test_images_add_up_to_logits_whose_softmax_is_predicted(quick, digits, tmp_path):
    np.save(tmp_path / "digits.npy", digits.images[digits.indices["test"][:2]].numpy())
    html, _ = explain("rotmnist", tmp_path / "digits.npy")
    for item in content_of(html)["items"]:
        np.testing.assert_allclose(sums(item), item["values"], rtol=1e-4, atol=1e-5)
        shares = torch.tensor(item["values"], dtype=torch.float64).softmax(0).numpy()
        np.testing.assert_allclose(shares, [float(x) for x in item["shares"]], atol=1e-4)
        assert item["said"] == str(shares.argmax())
        assert len(item["pixels"]) == 2 * 28 * 28


@pytest.mark.parametrize("pool_on", ["outputs", "features"])
@pytest.mark.parametrize("group", [SE3(), T(3)])
def test_terms_of_a_model_add_up(group, pool_on):
    """Also with several lifts for every atom, and where a head follows the pool."""
    net = LieResNet(5, group, width=8, blocks=1, num_lifts=1 if group.free else 3)
    pool = GIGP(2 if pool_on == "outputs" else 8, SO3(), orbits=6, init="random", hidden_layers=1)
    model, cloud = PointCloudModel(net, pool, 2, pool_on).eval(), random_cloud()
    model.calibrate([cloud])
    torch.manual_seed(1)  # of the lifts
    found = model.orbit_terms(cloud)
    torch.manual_seed(1)
    torch.testing.assert_close(found.terms.sum(1) + found.constant, model(cloud))
    assert found.terms.shape == (3, 6, 2)


def random_cloud() -> PointCloud:
    mask = torch.arange(7) < torch.tensor([[5], [7], [2]])
    return PointCloud(torch.randn(3, 7, 3), torch.randn(3, 7, 5), mask)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SE3", "mass", "head"])
def test_lifts_scales_centers_and_frozen_networks_add_up(trained, qm9, tmp_path, name):
    """Several lifts for every atom, scaled positions, a center of mass, features of a run."""
    if name == "head":
        backbone, _ = trained("T3")
        folder, _ = trained(f"explain_{tmp_path.name}", *head_on(backbone, tmp_path, "pool=gigp"))
    else:
        folder, _ = trained(name)
    model, places = TrainedModel(folder), qm9.indices["test"][:3].tolist()
    contents = [
        Molecule(qm9.charges[i][qm9.mask[i]].long(), qm9.positions[i][qm9.mask[i]].double())
        for i in places
    ]
    with steady_state(torch.device("cpu")):
        predicted, _ = model.predict(contents)
        for content, row in zip(contents, predicted, strict=True):
            parts = orbit_sum(model, content)
            torch.testing.assert_close(parts.total, row, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(parts.pos.norm(dim=1), parts.radius)
            assert len(parts.members) == len(content.charges)
            torch.testing.assert_close(parts.counts, parts.members.sum(0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        (
            MeanPool(12),
            "run pools by MeanPool, which has no orbits to show; give a model",
        ),
        (ShuffledGIGP(12, SO3()), "run pools by ShuffledGIGP, which has no orbits to show"),
        (GIGP(12, Tx()), r"run pools over orbits of Tx, which are neither circles nor spheres"),
    ],
)
def test_models_that_are_refused(pool, message):
    model = SimpleNamespace(pool=pool)
    with pytest.raises(InputError, match=message):
        check_model(SimpleNamespace(run="run", module=SimpleNamespace(model=model)))
    with pytest.raises(InputError, match=r"MeanPool is no sum over orbits; give .* pool=gigp"):
        PointCloudModel(Identity(12, SO3()), MeanPool(12), 1, "features").orbit_terms(
            random_cloud()
        )


def test_several_models_are_refused(monkeypatch, loaded):
    two = loaded["qm9"], loaded["qm9"].models
    monkeypatch.setattr(two[0], "models", two[1] * 2)
    monkeypatch.setattr(explain_page, "load", lambda *_, **__: two[0])
    with pytest.raises(InputError, match="run= names 2 models; the orbits are those of one"):
        explain("A,B", DOZEN)


def test_names_from_files_stay_text(quick, tmp_path):
    """They can end neither the script nor the title; paths may have spaces and equals signs."""
    path = tmp_path / "a=b <i>.xyz"
    path.write_text(METHANE.replace("methane", "</script><b>x</b> & <!--"))
    out = tmp_path / "o=1 <2>.html"
    assert follow([str(path), "run=qm9", f"out={out}"]) == 0
    html = out.read_text()
    assert html.count("</script>") == 2
    assert "<b>x" not in html and "<i>" not in html  # noqa: PT018
    assert content_of(html)["items"][0]["name"] == "</script><b>x</b> & <!--"


def test_bad_molecules_are_listed_and_the_others_shown(quick, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.xyz").write_text(METHANE + "1\nbad\nXq 0 0 0\n" + 3 * METHANE)
    assert follow(["in.xyz", "run=qm9", "limit=3"]) == 1
    error = capsys.readouterr().err
    assert "in.xyz, 2 (bad): " in error and "Shown 3 of 4." in error  # noqa: PT018
    assert len(content_of((tmp_path / "in.html").read_text())["items"]) == 3
    (tmp_path / "in.html").unlink()
    (tmp_path / "bad.xyz").write_text("1\nbad\nXq 0 0 0\n")
    assert follow(["bad.xyz", "run=qm9"]) == 2
    assert "Shown 0 of 1." in capsys.readouterr().err
    assert not list(tmp_path.glob("*.html"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run=qm9"], "input= is missing; write python scripts/explain.py FILE"),
        (["a.xyz", "b.xyz"], "input= is given twice"),
        (["a.xyz", "limit=0"], "limit=0: it must be a positive integer"),
        (["a.xyz", "check=no"], "check=no: it must be true or false"),
        (["a.xyz", "outt=b"], r"'outt' is not an option. Did you mean out=\?"),
        (["a.xyz", "out="], "out= has no value"),
    ],
)
def test_command_lines_that_are_refused(words, message):
    with pytest.raises(InputError, match=message):
        parse(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.xyz"], "there is no input=nowhere.xyz"),
        ([str(DOZEN), f"out={DOZEN}"], "is the input; name another file"),
        ([str(DOZEN), "out=/nowhere/x.html"], "out=/nowhere/x.html cannot be written"),
        ([str(DOZEN), "run=nothing", "out=x.html"], "there is no model 'nothing'"),
    ],
)
def test_files_that_are_refused(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert follow(words) == 2
    assert message in capsys.readouterr().err
