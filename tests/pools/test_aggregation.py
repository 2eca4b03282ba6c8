"""GIGP as an aggregation of PyTorch Geometric: the dense layer's numbers on any index, and PyG's
conventions.
"""

import subprocess
import sys
from inspect import signature

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.utils import to_dense_batch

from gigp import GIGP, GIGPAggregation, PointCloud
from gigp.errors import InputError
from gigp.groups import SE3, SO2, SO3
from gigp.pools.aggregation import sum_of_products
from gigp.pools.base import MeanPool
from gigp.testing import assert_invariant
from tests.conftest import ROOT

SIZES = {
    "ragged": (3, 1, 40, 0, 7, 0),
    "points": (1, 1, 1),
    "one graph": (29,),
    "all empty": (0, 0),
    "no graphs": (),
}
OPTIONS = {
    "ball": {},
    "hat": {"membership": "hat"},
    "smooth": {"membership": "smooth", "activation": "silu"},
    "nearest, origin": {"membership": "nearest", "center": "origin"},
    "raw sums": {"normalize": False, "aggregation": "sum", "init": "sum", "feed_center": False},
    "mean of orbits": {"aggregation": "mean", "init": "random"},
    "one orbit": {"orbits": 1},
}


def aggregation(channels=4, group=None, *, trained=True, **options) -> GIGPAggregation:
    torch.manual_seed(0)
    options = {"orbits": 12, "hidden_channels": 2 * channels, **options}
    aggr = GIGPAggregation(channels, group or SO3(), **options).double()
    aggr.pool.orbits.fit(0.0, 4.0)
    for parameter in aggr.parameters() if trained else ():
        torch.nn.init.normal_(parameter, std=0.5)
    return aggr


def points(sizes, channels=4, dim=3):
    """Features, positions, index of graphs of given sizes."""
    index = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes, dtype=torch.long))
    x, pos = torch.randn(len(index), channels).double(), 2 * torch.randn(len(index), dim).double()
    return x, pos, index


def dense(pool, x, pos, index, num):
    """Output of the dense layer."""
    if num == 0:
        return x.new_zeros(0, pool.channels)
    feat, mask = to_dense_batch(x, index, batch_size=num)
    return pool(feat, to_dense_batch(pos, index, batch_size=num)[0], mask)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_same_as_the_dense_layer(options, sizes):
    aggr, (x, pos, index) = aggregation(**options), points(sizes)
    expected = dense(aggr.pool, x, pos, index, len(sizes))
    p = torch.randperm(len(index))
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    for out in (
        aggr(x, index, dim_size=len(sizes), pos=pos),
        aggr(x, index, dim_size=len(sizes), dim=0, pos=pos),
        aggr(x[p], index[p], dim_size=len(sizes), pos=pos[p]),  # unsorted
        aggr(x, ptr=ptr, pos=pos),
        aggr(x, index, ptr, pos=pos),
    ):
        torch.testing.assert_close(out, expected)
    assert (expected[torch.tensor(sizes) == 0] == 0).all()


def test_orbit_coordinates_in_place_of_positions():
    aggr, (x, pos, index) = aggregation(center="origin"), points((3, 4))
    torch.testing.assert_close(aggr(x, index, q=pos.norm(dim=-1)), aggr(x, index, pos=pos))


def test_without_an_index_all_points_are_one_graph():
    aggr, (x, pos, index) = aggregation(), points((6,))
    torch.testing.assert_close(aggr(x, pos=pos), aggr(x, index, pos=pos))


def test_same_gradients_as_the_dense_layer():
    aggr, (x, pos, index) = aggregation(membership="hat"), points((5, 9, 0, 1))
    leaves = [x.requires_grad_(), pos.requires_grad_(), *aggr.parameters()]
    sparse = torch.autograd.grad(aggr(x, index, dim_size=4, pos=pos).square().sum(), leaves)
    expected = torch.autograd.grad(dense(aggr.pool, x, pos, index, 4).square().sum(), leaves)
    torch.testing.assert_close(sparse, expected)


def test_invariant_and_mean_pooling_at_the_start():
    aggr, (x, pos, index) = aggregation(), points((5, 9, 1))
    assert_invariant(lambda pos: aggr(x, index, pos=pos), SE3(), pos)
    start = aggregation(trained=False)
    expected = dense(MeanPool(4), x, pos, index, 3)
    torch.testing.assert_close(start(x, index, pos=pos), expected)
    aggr.reset_parameters()
    torch.testing.assert_close(aggr(x, index, pos=pos), expected)


@pytest.mark.parametrize("channels", [1, 4, 30])
@pytest.mark.parametrize("k", [1, 12])
def test_sum_of_products(channels, k):
    x, _, index = points((3, 0, 100, 8, 16, 1), channels)
    m = torch.rand(len(x), k).double()
    expected = x.new_zeros(6, k, channels).index_add(0, index, m.unsqueeze(-1) * x.unsqueeze(1))
    torch.testing.assert_close(sum_of_products(m, x, index, 6), expected)


def test_memory_is_not_points_times_orbits_times_channels_nor_that_of_padding():
    """Largest tensor kept for backward, for one large graph among small ones."""
    sizes, k, c = [2000, *[1] * 60], 50, 64
    aggr, (x, pos, index) = aggregation(c, orbits=k), points(sizes, c)
    largest = 0

    def watch(tensor):
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(watch, lambda t: t):
        aggr(x.requires_grad_(), index, dim_size=len(sizes), pos=pos).sum().backward()
    assert 0 < largest <= (len(x) + 2 * len(sizes) * k) * (k + c) < len(x) * k * c / 4


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_as_one_graph_of_any_size(backend):
    aggr = aggregation(membership="smooth")
    compiled = torch.compile(aggr, fullgraph=True, dynamic=True, backend=backend)
    for sizes in [(3, 1, 12, 0), (9, 2, 2, 5, 6)]:
        x, pos, index = points(sizes)
        out = compiled(x, index, dim_size=len(sizes), pos=pos)
        torch.testing.assert_close(out, aggr(x, index, dim_size=len(sizes), pos=pos))
        out.sum().backward()


def test_fits_on_graphs_as_on_clouds(qm9):
    """Real molecules, as PyG batches and as padded clouds."""
    cloud, _ = qm9.prepare_batch(qm9.get_batch(torch.arange(40)), augment=False)
    graphs = [Data(x=f[m], pos=p[m]) for p, f, m in zip(*cloud[:3], strict=True)]
    batches = [Batch.from_data_list(graphs[:25]), Batch.from_data_list(graphs[25:39]), graphs[39]]
    aggr, pool = GIGPAggregation(15, SO3()), GIGP(15, SO3())
    aggr.fit(batches)
    pool.fit([cloud])
    torch.testing.assert_close(aggr.pool.orbits.centers, pool.orbits.centers)
    pool.load_state_dict(aggr.pool.state_dict())
    out = aggr(batches[0].x, batches[0].batch, pos=batches[0].pos)
    torch.testing.assert_close(out, pool(*(t[:25] for t in (cloud.feat, cloud.pos, cloud.mask))))
    assert PointCloud.from_pyg(Data(pos=cloud.pos[0], num_nodes=29)).feat.shape[-1] == 0
    with pytest.raises(InputError, match="no positions"):
        aggr.fit([Data(x=cloud.feat[0])])


def test_unsorted_batches_keep_every_point():
    """Padded from a batch vector in any order: the same clouds, centers and masses."""
    x, pos, index = points((5, 0, 2, 4))
    mass = torch.rand(11).double() + 1
    p = torch.randperm(11)
    batch = Batch(x=x[p], pos=pos[p], batch=index[p], mass=mass[p])
    batch._num_graphs = 4
    padded = PointCloud.from_pyg(batch)
    assert padded.mask.sum(1).tolist() == [5, 0, 2, 4]
    for i in range(4):
        for values, found in ((x, padded.feat), (pos, padded.pos), (mass, padded.mass)):
            rows, expected = found[i][padded.mask[i]], values[index == i]
            order = torch.argsort(p[index[p] == i])
            torch.testing.assert_close(rows[order], expected)
    for center in ("centroid", "mass"):
        sorted_, unsorted = (GIGPAggregation(4, SO3(), center=center).double() for _ in range(2))
        unsorted.fit([batch])
        sorted_.fit(
            [Data(x=x[index == i], pos=pos[index == i], mass=mass[index == i]) for i in (0, 2, 3)]
        )
        torch.testing.assert_close(unsorted.pool.orbits.centers, sorted_.pool.orbits.centers)


def test_center_of_mass_as_the_dense_layer():
    aggr, (x, pos, index) = aggregation(center="mass"), points((5, 9, 0, 1))
    mass = torch.rand(15).double() + 1
    feat, mask = to_dense_batch(x, index, batch_size=4)
    at, masses = (to_dense_batch(v, index, batch_size=4)[0] for v in (pos, mass))
    out = aggr(x, index, dim_size=4, pos=pos, mass=mass)
    torch.testing.assert_close(out, aggr.pool(feat, at, mask, mass=masses))
    with pytest.raises(InputError, match=r"masses of the points: pass mass= of shape \(15,\)"):
        aggr(x, index, dim_size=4, pos=pos)


@pytest.mark.parametrize("center", ["centroid", "origin"])
def test_nan_position_gives_nan(center):
    aggr, (x, pos, index) = aggregation(center=center), points((5, 9, 3))
    expected = aggr(x, index, pos=pos)
    pos[6, 0] = torch.nan
    out = aggr(x, index, pos=pos)
    assert out[1].isnan().all()
    torch.testing.assert_close(out[[0, 2]], expected[[0, 2]])


def test_autocast():
    """Positions in single precision, features in bfloat16, as a layer under autocast makes them."""
    aggr, (x, pos, index) = aggregation(trained=False).float(), points((5, 9, 600))
    x, pos = x.float(), pos.float()
    expected = aggr(x, index, pos=pos)
    with torch.autocast("cpu", torch.bfloat16):
        for feat in (x, x.bfloat16()):
            out = aggr(feat.requires_grad_(), index, pos=pos)
            torch.testing.assert_close(out.float(), expected, rtol=0.03, atol=0.03)
            out.sum().backward()


def test_large_graphs_in_bfloat16():
    """A sum of ones in bfloat16 stops at 256: the number of points would be wrong by a factor."""
    aggr, (_, pos, index) = aggregation(trained=False).bfloat16(), points((3000,))
    out = aggr(torch.ones(3000, 4).bfloat16(), index, pos=pos.bfloat16())
    torch.testing.assert_close(out.float(), torch.ones(1, 4), rtol=0.05, atol=0)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (Data(pos=torch.ones(2, 3)), r"fit takes several graphs or batches; pass \[batch\]"),
        ([(torch.ones(2, 3), torch.ones(2, 4))], "tuple has no positions"),
        ([Data(x=torch.ones(2, 4))], r"Data has no positions; .* with data\.pos"),
        (
            [Data(x=torch.ones(2, 4), pos=torch.ones(2, 3), batch=torch.zeros(2))],
            r"data\.batch \(2,\) of torch\.float32 .* expected \(2,\) of torch\.int64",
        ),
        ([Data(x=torch.ones(3, 4), pos=torch.ones(2, 3))], "2 positions, but 3 rows in x or mass"),
    ],
)
def test_fit_on_something_else(batches, message):
    with pytest.raises(InputError, match=message):
        GIGPAggregation(4, SO3()).fit(batches)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pos": None}, r"neither of pos= and q= given; .* \(N, 3\)"),
        ({"pos": [[0.0] * 3] * 5}, r"pos is a list; pass a tensor, as torch\.as_tensor\(pos\)"),
        ({"q": torch.ones(5)}, "both of pos= and q="),
        ({"pos": torch.ones(5, 2)}, r"pos has shape \(5, 2\); expected \(5, 3\)"),
        ({"pos": torch.ones(4, 3)}, r"pos has shape \(4, 3\)"),
        ({"x": torch.ones(5, 3)}, r"x has shape \(5, 3\); this aggregation takes \(N, 4\)"),
        ({"pos": None, "q": torch.ones(5, 1)}, r"q has shape \(5, 1\)"),
        (
            {"index": torch.zeros(4, dtype=torch.long)},
            r"index \(4,\) of torch.int64 .* of 5 points; expected \(5,\)",
        ),
        ({"index": torch.zeros(5)}, r"of torch.float32 .* expected \(5,\) of torch.int64"),
        (
            {"index": torch.tensor([0, 0, 0, 1, -1])},
            r"index\[4\] is -1; graphs are numbered from 0",
        ),
        ({"x": torch.ones(5, 4, dtype=torch.long)}, r"x is of torch.int64, .* pass x.float\(\)"),
        (
            {"index": None, "ptr": torch.tensor([0, 3])},
            r"ptr \[0, 3\] should rise from 0 to the number of points, 5",
        ),
        ({"index": None, "ptr": torch.tensor([1, 3, 6])}, r"ptr \[1, 3, 6\] should rise"),
        ({"index": None, "ptr": torch.tensor([0, 4, 3, 5])}, r"ptr \[0, 4, 3, 5\] should rise"),
        (
            {"index": None, "ptr": torch.tensor([0.0, 5.0])},
            r"ptr \(2,\) of torch.float32 should be \(graphs \+ 1,\)",
        ),
        ({"index": None, "ptr": torch.tensor([[0, 5]])}, r"ptr \(1, 2\) of torch.int64 should be"),
        ({"ptr": torch.tensor([0, 2, 5])}, r"index and ptr \[0, 2, 5\] name other graphs"),
        ({"x": torch.ones(2, 5, 4)}, "two-dimensional"),
        ({"dim": 1}, "first dimension"),
        ({"dim": 7}, "invalid dimension"),
        ({"dim_size": 1}, "invalid 'dim_size'"),
        ({"ptr": torch.tensor([0, 5]), "dim_size": 2}, "invalid 'dim_size'"),
    ],
)
def test_bad_arguments(change, message):
    x, pos, index = points((3, 2))
    with pytest.raises(ValueError, match=message):
        aggregation()(**{"x": x, "index": index, "pos": pos, **change})


def test_conventions():
    aggr = aggregation(group=SO2())
    assert repr(aggr) == "GIGPAggregation(4, SO(2), orbits=12)"
    assert aggr.extra_repr() == "4, SO(2), orbits=12"
    with pytest.raises(InputError, match="DeepSets"):
        GIGPAggregation(4, SE3())
    with pytest.raises(InputError, match="not set"):
        GIGPAggregation(4, SO3())(torch.ones(1, 4), pos=torch.ones(1, 3))


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, gigp; assert not {'torch', 'torch_geometric', 'lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(ImportError):
        from gigp import Nonsense  # noqa: F401


@pytest.mark.slow
def test_importing_it_is_silent():
    """PyTorch Geometric warns of itself when it is imported, of what a user of ours cannot mend."""
    done = subprocess.run(
        [sys.executable, "-c", "import gigp; gigp.GIGPAggregation"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")


class Program(torch.nn.Module):
    """An aggregation with its points as an argument, for `torch.export`."""

    def __init__(self, aggr: GIGPAggregation) -> None:
        super().__init__()
        self.aggr = aggr

    def forward(self, x, pos, index, ptr):
        both = self.aggr(x, index, dim_size=ptr.shape[0] - 1, pos=pos)
        return both, self.aggr(x, ptr=ptr, pos=pos)


def program_inputs(sizes):
    x, pos, index = points(sizes)
    return x.float(), pos.float(), index, torch.tensor([0, *sizes]).cumsum(0)


@pytest.fixture(scope="module")
def exported():
    """An aggregation, and a program of it for any number of points and graphs."""
    program = Program(aggregation(membership="hat").float().eval())
    points, graphs = torch.export.Dim("points"), torch.export.Dim("graphs_and_one", min=3)
    shapes = {"x": {0: points}, "pos": {0: points}, "index": {0: points}, "ptr": {0: graphs}}
    return program, torch.export.export(program, program_inputs((3, 5, 2)), dynamic_shapes=shapes)


SEVERAL = [(4, 4, 9, 1), (7,) * 30, (0, 5), (1, 0)]


def test_exports_for_any_number_of_points_and_graphs(exported):
    program, found = exported
    for sizes in SEVERAL:
        inputs = program_inputs(sizes)
        torch.testing.assert_close(found.module()(*inputs), program(*inputs))


def test_exports_to_onnx(exported, tmp_path):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    program, found = exported
    torch.onnx.export(found, verbose=False).save(tmp_path / "gigp.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "gigp.onnx")
    names = [each.name for each in session.get_inputs()]
    for sizes in SEVERAL:
        inputs = program_inputs(sizes)
        found = session.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})
        for mine, expected in zip(found, program(*inputs), strict=True):
            torch.testing.assert_close(torch.from_numpy(mine), expected)


def test_options_stand_in_the_signature():
    """They are those of the dense layer."""
    mine, dense = (signature(cls.__init__).parameters for cls in (GIGPAggregation, GIGP))
    assert mine == dense


@pytest.mark.parametrize("options", [{}, {"divisor": "constant"}])
def test_messages_speak_of_its_own_fit(options):
    aggr = GIGPAggregation(4, SO3(), **options)
    if options:
        aggr.pool.orbits.fit(0.0, 1.0)
    x, pos, index, _ = program_inputs((3, 4))
    with pytest.raises(InputError, match=r"call aggr\.fit\(loader\)"):
        aggr(x, index, pos=pos)
