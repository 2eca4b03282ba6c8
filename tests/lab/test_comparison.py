"""Comparing pools in a user's own model: equal starts, and what the verdict says."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

import gigp
from gigp.errors import InputError
from gigp.groups import SO3
from gigp.lab.comparison import POOLS, Comparison, Difference, PoolResult
from gigp.pointcloud import PointCloud
from gigp.pools import MaxPool
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "comparing.md").read_text()


class Net(nn.Module):
    """A user's graph network."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.embed, self.pool, self.head = nn.Linear(2, 8), pool, nn.Linear(8, 1)

    def forward(self, data: Data) -> torch.Tensor:
        x = self.embed(data.x)
        return self.head(self.pool(x, data.batch, pos=data.pos, dim_size=data.num_graphs))[:, 0]


def graphs(num: int) -> list[Data]:
    """Graphs whose target is a sum over the points near the centroid."""
    generator = torch.Generator().manual_seed(num)
    found = []
    for n in torch.randint(6, 12, (num,), generator=generator).tolist():
        x, pos = torch.randn(n, 2, generator=generator), torch.randn(n, 3, generator=generator)
        near = (pos - pos.mean(0)).norm(dim=1) < 1.4
        found.append(Data(x=x, pos=pos, y=x[near, 0].sum()[None]))
    return found


def error(net: nn.Module, data: Data) -> torch.Tensor:
    return (net(data) - data.y).abs()


@pytest.fixture(scope="module")
def result() -> Comparison:
    train, test = DataLoader(graphs(128), 32, shuffle=True), DataLoader(graphs(64), 64)
    mine = {"max": lambda channels, group: MaxPool(channels)}
    options = {"channels": 8, "group": SO3(), "epochs": 8, "lr": 1e-2, "seeds": (0, 1)}
    return gigp.compare_pools(Net, train, test, error, pools=mine, **options)


def test_all_pools_are_trained(result):
    assert list(result) == [*POOLS, "max"]
    for errors, parameters in result.values():
        assert errors.shape == (2,)
        assert np.isfinite(errors).all()
        assert parameters > 0
    assert result["gigp"].errors.mean() < result["mean"].errors.mean()
    assert result["gigp"].parameters == result["shuffled orbits"].parameters


def test_the_table_ends_with_a_verdict(result):
    head, *rows = str(result).splitlines()
    assert head.split()[:2] == ["pool", "error"]
    assert len(rows) == len(result) + 2
    assert rows[-1] == result.verdict()


def test_results_repeat():
    def run() -> float:
        train, test = DataLoader(graphs(16), 8, shuffle=True), DataLoader(graphs(8), 8)
        options = {"channels": 8, "group": SO3(), "epochs": 1, "seeds": (0,)}
        return gigp.compare_pools(Net, train, test, error, **options)["gigp"].errors[0]

    assert run() == pytest.approx(run(), rel=1e-4)


class DenseNet(nn.Module):
    """A user's network on dense clouds."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool, self.head = pool, nn.Linear(4, 1)

    def forward(self, feat: torch.Tensor, pos: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(feat, pos))[:, 0]


def test_dense_clouds():
    feat, pos = torch.randn(8, 5, 4), torch.randn(8, 5, 3)
    batches = [(feat, pos, feat[:, :, 0].sum(1))]
    result = gigp.compare_pools(
        DenseNet,
        batches,
        batches,
        lambda net, batch: (net(*batch[:2]) - batch[2]).abs(),
        channels=4,
        group=SO3(),
        epochs=1,
        seeds=(0,),
        cloud=lambda batch: PointCloud(batch[1], batch[0], torch.ones(8, 5) > 0),
        graphs=False,
    )
    assert set(result) == set(POOLS)


def made(**errors: list[float]) -> Comparison:
    """A comparison with these errors by seed; `_` in a name is ` `."""
    names = {"mlp": "mlp, mean", "one": "one orbit", "shuffled": "shuffled orbits"}
    return Comparison({names.get(n, n): PoolResult(np.array(e), 1) for n, e in errors.items()})


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        (
            {"mean": [1.0, 1.01, 0.99], "mlp": [0.82, 0.84, 0.8], "gigp": [0.8, 0.82, 0.8]},
            "lower error .* MLP on every point, .* has 93% of that; what orbits add .* not seen",
        ),
        (
            {"mean": [1.0, 1.01, 0.99], "mlp": [0.9, 0.91, 0.89], "gigp": [0.5, 0.51, 0.49]},
            "has 20% of that; orbits add the rest",
        ),
        (
            {"mean": [1.0, 1.01, 0.99], "mlp": [0.7, 0.71, 0.69], "gigp": [0.8, 0.81, 0.79]},
            "better without them .* The lowest error is that of mlp, mean",
        ),
        ({"mean": [1, 1.1, 0.9], "mlp": [1, 1, 1], "gigp": [1, 0.9, 1.1]}, "No difference"),
        ({"mean": [1, 1.01, 1], "mlp": [1, 1, 1], "gigp": [2, 2, 2]}, "a higher error than mean"),
        ({"mean": [1.0], "mlp": [1.0], "gigp": [0.5]}, "One seed: .* nothing can be told"),
    ],
)
def test_verdicts(errors, said):
    assert re.search(said, made(**errors).verdict()), made(**errors).verdict()


def test_interval_is_students():
    found = Difference.of(np.array([1.0, 2.0, 3.0]), np.zeros(3))
    assert found.mean == 2
    assert found.high - found.mean == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert not found.seen


def test_errors_have_one_number_for_each_sample():
    loader = DataLoader(graphs(8), 8)
    options = {"channels": 8, "group": SO3(), "epochs": 1, "seeds": (0,)}
    with pytest.raises(InputError, match=r"error returned \(\); it must return one number"):
        gigp.compare_pools(Net, loader, loader, lambda n, d: error(n, d).mean(), **options)


def test_the_page_runs(monkeypatch, capsys):
    """On a few molecules in place of QM9."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    molecules = graphs(24)
    for data in molecules:
        n = len(data.x)
        data.x, data.y = torch.randn(n, 11), torch.randn(1, 19)
        data.edge_index, data.edge_attr = torch.randint(n, (2, 2 * n)), torch.randn(2 * n, 4)
    monkeypatch.setattr("torch_geometric.datasets.QM9", lambda root: molecules)
    code = code.replace("[:3000]", "").replace("2000", "16").replace("group=", "epochs=1, group=")
    exec(code, {"__name__": "page"})
    assert "mlp, mean" in capsys.readouterr().out
