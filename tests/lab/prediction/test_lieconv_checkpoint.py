"""Checkpoints of the public LieConv code: read without executing anything, and computed alike."""

import io
import os
import pickle
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gigp.backbones.lieconv.net import LieResNet
from gigp.errors import InputError
from gigp.groups import T
from gigp.lab.model import PointCloudModel
from gigp.lab.molecules.atoms import atom_features
from gigp.lab.molecules.readers.molecule import make_molecule
from gigp.lab.prediction import Predictor
from gigp.lab.prediction.lieconv_checkpoint import copy_weights, find_shape, read_checkpoint
from gigp.pointcloud import PointCloud
from gigp.pools.base import MeanPool
from scripts.import_reference import import_run
from tests.conftest import DATA

WIDTH, BLOCKS = 16, 2


def reference_state() -> dict[str, Tensor]:
    """Random weights with the names and shapes of the reference's LieResNet."""
    state: dict[str, Tensor] = OrderedDict()

    def linear(name: str, i: int, o: int) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.randn(o, i) / i**0.5, torch.randn(o)

    def norm(name: str, c: int) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.rand(c) + 0.5, torch.randn(c) / 9
        state[f"{name}.running_mean"] = torch.randn(c) / 9
        state[f"{name}.running_var"] = torch.rand(c) + 0.5
        state[f"{name}.running_var"][0] = 1e-7  # below what the reference divides by
        state[f"{name}.weight"][0] = 3e-3
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    inner = WIDTH // 4
    linear("net.0.module", 15, WIDTH)
    for i in range(1, BLOCKS + 1):
        for conv in (f"net.{i}.conv", f"net.{i}.net.5"):
            state[f"{conv}.r"] = torch.tensor(0.7)
            for layer, sizes in ((0, (3, 32)), (3, (32, 32)), (6, (32, 16))):
                linear(f"{conv}.weightnet.{layer}.module", *sizes)
                norm(f"{conv}.weightnet.{layer + 1}", sizes[1])
            linear(f"{conv}.linear", 16 * inner, inner)
        norm(f"net.{i}.net.0", WIDTH)
        linear(f"net.{i}.net.2.module", WIDTH, inner)
        norm(f"net.{i}.net.3", inner)
        norm(f"net.{i}.net.6", inner)
        linear(f"net.{i}.net.8.module", inner, WIDTH)
    norm(f"net.{BLOCKS + 1}", WIDTH)
    linear(f"net.{BLOCKS + 3}.module", WIDTH, 1)
    return state


def by_hand(state: dict[str, Tensor], pos: Tensor, feat: Tensor) -> Tensor:
    """The reference's prediction for one cloud (n, 3), (n, 15), from the paper's formulas."""

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        std = state[f"{name}.running_var"].clamp(1e-5).sqrt()
        x = (x - state[f"{name}.running_mean"]) / std
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    swish = nn.functional.silu
    offset = pos[:, None] - pos[None]  # (n, n, 3)
    x = linear("net.0.module", feat)
    for i in range(1, BLOCKS + 1):
        block, kernel = f"net.{i}", offset
        h = swish(norm(f"{block}.net.0", x))
        h = swish(norm(f"{block}.net.3", linear(f"{block}.net.2.module", h)))
        for layer in (0, 3, 6):
            name = f"{block}.conv.weightnet.{layer}"
            kernel = linear(f"{name}.module", kernel)
            kernel = swish(norm(f"{block}.conv.weightnet.{layer + 1}", kernel))
        near = (0.2 * offset.norm(dim=-1) < state[f"{block}.conv.r"]).float()  # (n, n)
        sums = torch.einsum("qj,qjk,jc->qck", near, kernel, h).flatten(1)  # channels x kernel
        h = linear(f"{block}.conv.linear", sums) / near.sum(1, keepdim=True)
        h = swish(norm(f"{block}.net.6", h))
        x = x + linear(f"{block}.net.8.module", h)
    x = swish(norm(f"net.{BLOCKS + 1}", x))
    return linear(f"net.{BLOCKS + 3}.module", x).mean(0)


def our_model(state: dict[str, Tensor]) -> PointCloudModel:
    layout = find_shape(state)
    net = LieResNet(15, T(3), width=layout.width, blocks=layout.blocks, fill=0.25)
    model = PointCloudModel(net, MeanPool(layout.out_channels), layout.out_channels).eval()
    copy_weights(model, state)
    return model


def test_predictions_are_those_of_the_reference():
    """In balls that hold some of the points, and with variances near 0."""
    state = reference_state()
    assert find_shape(state)[:3] == (WIDTH, BLOCKS, 1)
    assert find_shape(state).left_out == []
    model = our_model(state)
    for num in (1, 5, 20):
        pos, feat = 2 * torch.randn(num, 3), torch.randn(num, 15)
        cloud = PointCloud(pos[None], feat[None], torch.ones(1, num, dtype=torch.bool))
        with torch.no_grad():
            ours, expected = model(cloud)[0], by_hand(state, pos, feat)
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def save(path: Path, state: dict, **more) -> Path:
    """A checkpoint as the reference's trainer pickles it."""
    path.write_bytes(pickle.dumps({"epoch": 500, "model_state": state, **more}, protocol=4))
    return path


def test_checkpoints_are_read_whatever_else_they_hold(tmp_path):
    """Loggers and data frames among them, which become nothing."""
    state = reference_state()
    parallel = {f"module.{name}": value for name, value in state.items()}
    more = {"outcome": Path("x"), "optim_state": {"state": {0: nn.Linear(2, 2)}}}
    files = [save(tmp_path / "c500.state", parallel, **more), tmp_path / "zip.state"]
    torch.save({"model_state": state}, files[1])
    for file in files:
        found = read_checkpoint(file)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name], state[name]) for name in state)


class Attack:
    """What a pickle may do when it is read."""

    def __init__(self, path: Path, call) -> None:
        self.path, self.call = path, call

    def __reduce__(self):
        return self.call, (str(self.path),)


@pytest.mark.parametrize("call", [os.mkdir, exec, torch.load, io.open_code])
def test_nothing_is_executed(tmp_path, call):
    proof = tmp_path / "proof"
    state = reference_state()
    file = save(tmp_path / "c.state", state, evil=Attack(proof, call))
    assert read_checkpoint(file).keys() == state.keys()
    file = save(tmp_path / "c.state", {"net.0.module.weight": Attack(proof, call)})
    with pytest.raises(InputError, match="in model_state is not a tensor"):
        read_checkpoint(file)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no pickle", "is damaged or not a checkpoint of LieConv"),
        (b"", "is damaged or not a checkpoint of LieConv"),
        (pickle.dumps([1]), "holds no model_state"),
        (pickle.dumps({"model_state": {}}), "holds no model_state"),
        (pickle.dumps({"model_state": {"net": 1.0}}), "is not a tensor"),
    ],
)
def test_files_that_are_no_checkpoint(tmp_path, content, message):
    (tmp_path / "c.state").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_checkpoint(tmp_path / "c.state")


def test_nets_that_do_not_fit():
    state = reference_state()
    with pytest.raises(InputError, match="does not hold the weights of a LieResNet"):
        find_shape({"x": torch.zeros(2)})
    with pytest.raises(InputError, match=r"only nets on T\(3\) for QM9"):
        find_shape(state | {"net.1.conv.weightnet.0.module.weight": torch.zeros(32, 6)})
    more = state | {"gigp_lin_layer.weight": torch.zeros(1, 50)}
    assert find_shape(more).left_out == ["gigp_lin_layer.weight"]
    with pytest.raises(InputError, match="balls of the blocks have different radii"):
        our_model(state | {"net.1.conv.r": torch.tensor(0.8)})
    for wrong in (torch.zeros(3), torch.full((WIDTH,), torch.nan)):
        with pytest.raises(InputError, match=r"net\.1\.net\.0\.weight in model_state is"):
            our_model(state | {"net.1.net.0.weight": wrong})


def test_a_checkpoint_becomes_a_finished_run(tmp_path, qm9):
    """Its test error is that of the reference's formulas, and it predicts as any other run."""
    state = reference_state()
    checkpoint = save(tmp_path / "c500.state", state)
    sizes = ("dataset.train_size=30", "dataset.val_size=20", "dataset.test_size=25")
    where = (f"results_dir={tmp_path}/runs", f"dataset.root={DATA}", f"dataset.cache={DATA}")
    options = [*sizes, *where, "trainer.accelerator=cpu"]
    record = import_run(checkpoint, "homo", "imported", options)
    folder = tmp_path / "runs" / "imported" / "seed0"

    train, test = (qm9.indices[part] for part in ("train", "test"))
    values = qm9.values[:, 2]  # homo in eV, without references
    mean, std = values[train[:30]].mean(), values[train[:30]].std()
    errors, features = [], atom_features()
    for i in test[:25].tolist():
        mask = qm9.mask[i]
        found = by_hand(state, qm9.positions[i][mask], features[qm9.charges[i][mask].long()])
        errors.append((found.squeeze() * std + mean - values[i]).abs())
    assert record.metrics["homo"].test == pytest.approx(
        1000 * torch.stack(errors).mean().item(), rel=1e-4
    )

    methane = [[0, 0, 0], *([x, y, x * y / 0.63] for x in (0.63, -0.63) for y in (0.63, -0.63))]
    assert Predictor(folder)([make_molecule([*"CHHHH"], methane)]).isfinite().all()
    with pytest.raises(InputError, match=r"imported/seed0 is finished; give another --name"):
        import_run(checkpoint, "homo", "imported", options)


@pytest.mark.skipif("LIECONV" not in os.environ, reason="LIECONV names no checkout of LieConv")
def test_a_checkpoint_of_the_reference_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [os.environ["LIECONV"], *sys.path])
    from lie_conv.lieConv import LieResNet as Reference
    from lie_conv.lieGroups import T as ReferenceT

    net = Reference(15, k=WIDTH, num_layers=BLOCKS, nbhd=100, fill=0.5, group=ReferenceT(3))
    pos, feat = 2 * torch.randn(30, 20, 3), torch.randn(30, 20, 15)
    mask = torch.ones(30, 20, dtype=torch.bool)
    with torch.no_grad():
        for _ in range(20):  # sets radii and statistics
            net((pos, feat, mask))
        expected = net.eval()((pos, feat, mask))
    model = our_model(read_checkpoint(save(tmp_path / "c.state", net.state_dict())))
    with torch.no_grad():
        ours = model(PointCloud(pos, feat, mask))
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
