"""Networks of PyTorch Geometric as backbones: invariant, batched as alone, the library's own
numbers, by configuration alone."""

import pytest
import torch
from torch_geometric.nn.models import DimeNetPlusPlus as PyGDimeNetPlusPlus
from torch_geometric.nn.models import SchNet as PyGSchNet
from torch_geometric.nn.models import dimenet as library_of_dimenet

from gigp.backbones.base import Atoms
from gigp.backbones.dimenet import DimeNetPlusPlus, angle, triplets
from gigp.backbones.invariant import RadiusGraph, SchNet, ViSNet
from gigp.errors import InputError
from gigp.groups import SE3, SO2, SO3, Group, T
from gigp.lab.molecules.atoms import ELEMENTS, atom_features
from gigp.lab.training.run import run
from gigp.pointcloud import PointCloud
from gigp.pools.base import SumPool
from gigp.testing import assert_invariant
from tests.conftest import tiny

SMALL = {"channels": 16, "layers": 2}
BASIS = {"spherical": 3, "radial": 3}  # of DimeNet++: the library takes seconds to derive more
ATOMS = Atoms(tuple(ELEMENTS.values()))
NETS = [SchNet, ViSNet, pytest.param(DimeNetPlusPlus, marks=pytest.mark.slow)]


def net(kind, group: Group | None = None, in_channels: int = 15, **options):
    torch.manual_seed(0)
    setting = {
        "in_channels": in_channels,
        "group": group or T(3),
        "grid": None,
        "atoms": ATOMS,
        "num_lifts": 1,
        "max_neighbors": 100,
    }
    options |= BASIS if kind is DimeNetPlusPlus else {}
    return kind(**SMALL, **(setting | options)).double()


@pytest.fixture
def cloud(qm9) -> PointCloud:
    """Real molecules of different sizes, one reduced to a single atom, and one to none."""
    pos, feat, mask, *_ = qm9.prepare_batch(
        qm9.get_batch(torch.tensor([0, 7, 1000, 80_000, 5, 9])), augment=False
    )[0]
    mask = mask.clone()
    mask[4, 1:], mask[5] = False, False
    return PointCloud(pos.double(), feat.double(), mask)


@pytest.mark.parametrize("kind", NETS)
def test_invariant_under_rigid_motions_and_told_the_geometry(kind, cloud):
    model = net(kind)
    features = lambda pos: model(cloud._replace(pos=pos)).feat  # noqa: E731
    assert features(cloud.pos).shape == (*cloud.mask.shape, model.out_channels)
    assert_invariant(features, SE3(), cloud.pos)
    with pytest.raises(AssertionError):
        assert_invariant(
            lambda pos: features(pos * pos.new_tensor([1.1, 1.0, 0.9])), SO3(), cloud.pos
        )
    assert str(model.group) == "SE(3)"


@pytest.mark.parametrize("kind", NETS)
def test_batch_equals_single_whatever_the_padding_holds(kind, cloud):
    model = net(kind)
    batched = model(cloud._replace(pos=torch.where(cloud.mask.unsqueeze(-1), cloud.pos, torch.nan)))
    assert (batched.feat[~cloud.mask] == 0).all()
    for b, n in enumerate(cloud.mask.sum(1)):
        single = model(PointCloud(*(x[b : b + 1, :n] for x in cloud[:3])))
        torch.testing.assert_close(single.feat[0], batched.feat[b, :n])


@pytest.mark.parametrize("kind", NETS)
def test_every_parameter_learns_and_forces_are_finite(kind, cloud):
    model, pos = net(kind), cloud.pos.clone().requires_grad_()
    model(cloud._replace(pos=pos)).feat.square().sum().backward()
    assert pos.grad.isfinite().all()
    assert pos.grad.abs().sum() > 0
    assert {
        name for name, p in model.named_parameters() if p.requires_grad and p.grad is None
    } == set()


def test_schnet_is_that_of_the_library(cloud):
    """With its own last layer as head and a sum over the atoms; the radius holds all pairs of these
    molecules.
    """
    model, mask = net(SchNet, cutoff=20.0), cloud.mask

    def pairs(pos, batch):
        near = (batch[:, None] == batch) & ~torch.eye(len(batch), dtype=torch.bool)
        i, j = near.nonzero(as_tuple=True)
        return torch.stack([i, j]), (pos[i] - pos[j]).norm(dim=-1)

    library = PyGSchNet(16, 16, 2, 50, 20.0, interaction_graph=pairs).double()
    library.load_state_dict(model.net.state_dict(), strict=False)
    batch = torch.arange(len(mask))[:, None].expand_as(mask)[mask]
    # the last molecule is empty
    expected = library(model.charges_of(cloud.feat[mask]), cloud.pos[mask], batch)
    out = SumPool(1)(library.lin2(model(cloud).feat), cloud.pos, mask)
    torch.testing.assert_close(out[:5], expected)


@pytest.mark.slow
def test_dimenet_is_that_of_the_library(cloud, monkeypatch):
    """Its own forward pass, but for the two functions that ask for compiled extensions."""
    model, mask = net(DimeNetPlusPlus), cloud.mask
    library = PyGDimeNetPlusPlus(16, 16, 2, 8, 8, 32, 3, 3).double()
    library.load_state_dict(model.net.state_dict())
    batch = mask.nonzero()[:, 0]
    monkeypatch.setattr(
        library_of_dimenet,
        "radius_graph",
        lambda pos, r, batch, max_num_neighbors: RadiusGraph(r)(pos, batch)[0],
    )
    monkeypatch.setattr(library_of_dimenet, "triplets", triplets_by_loops)
    # the last molecule is empty
    expected = library(model.charges_of(cloud.feat[mask]), cloud.pos[mask], batch)
    assert expected.std() > 0.01
    torch.testing.assert_close(model(cloud).feat.sum(1)[:5], expected)


def triplets_by_loops(edge_index, num_nodes):
    """What the library's function returns, of the same name, slowly."""
    pairs = edge_index.T.tolist()
    found = [
        (i, j, k, e, f)
        for f, (j, i) in enumerate(pairs)
        for e, (k, to) in enumerate(pairs)
        if to == j and k != i
    ]
    return edge_index[1], edge_index[0], *torch.tensor(found, dtype=torch.long).reshape(-1, 5).T


def test_triplets(cloud):
    """The same as by loops, on molecules with a single atom and none among them; and without any
    pair.
    """
    pos, batch = cloud.pos[cloud.mask], cloud.mask.nonzero()[:, 0]
    pairs = RadiusGraph(2.0)(pos, batch)[0]
    *_, kj, ji = triplets_by_loops(pairs, len(pos))
    assert len(kj) > len(pos)
    assert set(zip(*(x.tolist() for x in triplets(pairs, len(pos))), strict=True)) == set(
        zip(kj.tolist(), ji.tolist(), strict=True)
    )
    assert [len(x) for x in triplets(torch.zeros(2, 0, dtype=torch.long), 3)] == [0, 0]


def test_angle():
    a = torch.tensor([[1.0, 0, 0], [1, 0, 0], [1, 0, 0]], dtype=torch.double, requires_grad=True)
    b = torch.tensor([[0, 2.0, 0], [-3, 0, 0], [1, 1, 0]], dtype=torch.double)
    found = angle(a, b)
    torch.testing.assert_close(found / torch.pi, torch.tensor([0.5, 1.0, 0.25], dtype=torch.double))
    found.sum().backward()
    assert a.grad.isfinite().all()


@pytest.mark.parametrize("loops", [False, True])
def test_graph_holds_the_pairs_within_the_cutoff(loops, cloud):
    pos, batch = cloud.pos[cloud.mask], cloud.mask.nonzero()[:, 0]
    pairs, distance, vector = RadiusGraph(2.5, loops)(pos, batch)
    expected = {
        (j, i)
        for i in range(len(pos))
        for j in range(len(pos))
        if batch[i] == batch[j] and (loops or i != j) and (pos[i] - pos[j]).norm() <= 2.5
    }
    assert set(map(tuple, pairs.T.tolist())) == expected
    assert len(expected) == pairs.shape[1]
    torch.testing.assert_close(distance, vector.norm(dim=-1))
    torch.testing.assert_close(vector, pos[pairs[0]] - pos[pairs[1]])


def test_charges_follow_from_the_blocks_of_the_elements():
    """Whatever the numbers of the other channels, and how many channels an element has."""
    charges = torch.tensor([1, 6, 7, 8, 9])
    assert torch.equal(net(SchNet).charges_of(atom_features()[charges].double()), charges)
    other = net(SchNet, in_channels=4, atoms=Atoms((1, 14)))
    feat = torch.tensor([[0.0, 7, 1, -3], [1, 0.5, 0, 99]]).double()
    assert other.charges_of(feat).tolist() == [14, 1]


@pytest.mark.parametrize(
    "backbone",
    ["schnet", *(pytest.param(n, marks=pytest.mark.slow) for n in ("visnet", "dimenet"))],
)
def test_by_configuration_alone(configure, backbone, qm9):
    options = SMALL | (BASIS if backbone == "dimenet" else {})
    small = [f"backbone.{name}={value}" for name, value in options.items()]
    cfg = configure(
        f"backbone={backbone}",
        "pool=gigp",
        "pool_on=features",
        *small,
        *tiny(epochs=1, train=75, val=20, test=20),
    )
    assert cfg.lr == {"schnet": 5e-4, "visnet": 5e-4, "dimenet": 1e-3}[backbone]
    summary = run(cfg)
    assert (summary.steps, summary.backbone_group) == (1, "SE(3)")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"atoms": ATOMS._replace(angstrom=False)}, "Use group=E3"),
        ({"group": SO2()}, "for molecules"),
        ({"in_channels": 1}, "for molecules"),
        ({"atoms": None}, "for molecules"),
        ({"grid": torch.zeros(4, 3)}, "for molecules"),
    ],
)
def test_refuses_what_it_is_not_for(setting, message):
    with pytest.raises(InputError, match=message):
        net(SchNet, **setting)


def test_a_group_that_asks_for_rescaled_positions_is_refused(configure, qm9):
    with pytest.raises(InputError, match="scale_positions=true rescales them"):
        run(configure("backbone=schnet", "group=SO3", *tiny(epochs=1, train=75, val=20, test=20)))


def test_a_lifted_group_that_does_not_rescale_is_taken():
    assert str(net(SchNet, group=SO3()).group) == "SE(3)"
