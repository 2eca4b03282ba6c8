"""The residual net: symmetry by group, permutation, padding, batching, determinism, reload, and
cost.
"""

import pytest
import torch

from gigp.backbones.lieconv import LieResNet
from gigp.errors import InputError
from gigp.groups import E3, SE2, SE3, SO2, SO3, Rx, RxSO2, T, Trivial, Tx, Ty
from gigp.pointcloud import PointCloud
from gigp.testing import assert_invariant, random_element

COMMUTING = [T(2), T(3), Tx(), Ty(), SO2(), RxSO2(), Rx(), Trivial(2), Trivial(3)]
LIFTED = [SE2(), SO3(), SE3()]
EXACT = [*COMMUTING, E3()]
GROUPS = EXACT + LIFTED
ids = [str(g) for g in GROUPS]


def cloud(dim, sizes=(7, 12, 4), seed=0) -> PointCloud:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(sizes), max(sizes))
    pos = torch.randn(*shape, dim, dtype=torch.float64, generator=generator)
    feat = torch.randn(*shape, 5, dtype=torch.float64, generator=generator)
    return PointCloud(pos, feat, torch.arange(max(sizes)) < torch.tensor(sizes)[:, None])


def backbone(group, fitted=True, **options) -> LieResNet:
    """A small net in evaluation whose batch norm has seen data, so that every branch of it is at
    work.
    """
    torch.manual_seed(0)
    options = {
        "width": 16,
        "blocks": 2,
        "fill": 0.6,
        "max_neighbors": 5,
        "num_lifts": 1 if group.one_lift else 2,
        **options,
    }
    net = LieResNet(5, group, **options).double()
    if fitted:
        net.calibrate(cloud(group.dim))
        net.train()(cloud(group.dim))
    return net.eval()


@pytest.fixture(params=GROUPS, ids=ids)
def group(request):
    return request.param


@pytest.mark.parametrize(
    "options",
    [{}, {"fill": 1.0, "max_neighbors": 99}, {"keep_fraction": 0.3}],
    ids=["ball", "full", "kept"],
)
@pytest.mark.parametrize("group", EXACT, ids=str)
def test_groups_with_one_lift_are_equivariant(group, options):
    net, (pos, feat, mask, *_) = backbone(group, **options), cloud(group.dim)
    assert_invariant(lambda p: net(PointCloud(p, feat, mask)).feat, group, pos)


@pytest.mark.parametrize("group", LIFTED, ids=str)
@pytest.mark.parametrize("keep_fraction", [1.0, 0.3])
def test_lifted_groups_are_equivariant_when_lifts_move_along(group, keep_fraction):
    net, (pos, feat, mask, *_) = backbone(group, keep_fraction=keep_fraction), cloud(group.dim)
    lifts = group.lift(pos, group.stabilizer(*pos.shape[:2], num_lifts=2, dtype=pos.dtype))
    out = net(PointCloud(pos, feat, mask), lifts).feat
    for g in random_element(group, 3, dtype=pos.dtype):
        moved = net(PointCloud(group.act(g, pos), feat, mask), g @ lifts).feat
        torch.testing.assert_close(moved, out, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("group", LIFTED, ids=str)
def test_lifted_groups_are_equivariant_in_distribution(group):
    """The mean over many lifts of a moved cloud is that of the cloud itself; so is not that of
    another cloud.
    """
    net, (pos, feat, mask, *_) = backbone(group, max_neighbors=99, fill=1.0), cloud(group.dim)

    def mean(p, lifts=300):
        many = group.stabilizer(lifts, p.shape[1], num_lifts=2, dtype=p.dtype)
        batch = PointCloud(*(x[1:2].expand(lifts, *x.shape[1:]) for x in (p, feat, mask)))
        y = net(batch, group.lift(batch.pos, many)).feat.mean(1)
        return y.mean(0), y.std(0) / lifts**0.5

    a, error = mean(pos)
    b, _ = mean(group.act(group.random(dtype=pos.dtype), pos))
    c, _ = mean(1.5 * pos)
    assert (a - b).abs().div(error).max() < 6
    assert (a - c).abs().div(error).max() > 6


def test_wrong_symmetry_is_rejected():
    """Negative control: a net for translations is not a net for rotations."""
    net, (pos, feat, mask, *_) = backbone(T(3)), cloud(3)
    with pytest.raises(AssertionError):
        assert_invariant(lambda p: net(PointCloud(p, feat, mask)).feat, SO3(), pos)


def test_kernels_of_distances_see_distances_and_nothing_else():
    """Negative controls of E(3): a deformed cloud is another one, a mirrored one is not, and a
    kernel that sees the offset is refused.
    """
    net, (pos, feat, mask, *_) = backbone(E3(), fill=1.0, max_neighbors=99), cloud(3)

    def features(p: torch.Tensor) -> torch.Tensor:
        return net(PointCloud(p, feat, mask)).feat

    out = features(pos)
    torch.testing.assert_close(features(pos * torch.tensor([-1.0, 1, 1])), out)
    assert not torch.allclose(features(pos * torch.tensor([1.1, 1, 1])), out, rtol=1e-3)
    offsets = backbone(T(3), fill=1.0, max_neighbors=99)
    with pytest.raises(AssertionError, match=r"not equivariant under E\(3\)"):
        assert_invariant(lambda p: offsets(PointCloud(p, feat, mask)).feat, E3(), pos)


def test_single_precision_is_invariant_to_rounding():
    net, (pos, feat, mask, *_) = backbone(E3(), fill=1.0, max_neighbors=99).float(), cloud(3)
    assert_invariant(
        lambda p: net(PointCloud(p, feat.float(), mask)).feat, E3(), pos.float(), tolerance=1e-4
    )


def test_order_of_points(group):
    net, (pos, feat, mask, *_) = backbone(group), cloud(group.dim, (9, 9))
    p = torch.randperm(9)
    lifts = (
        None
        if group.one_lift
        else group.lift(pos, group.stabilizer(2, 9, num_lifts=2, dtype=pos.dtype))
    )
    out = net(PointCloud(pos, feat, mask), lifts)
    moved = net(PointCloud(pos[:, p], feat[:, p], mask), None if lifts is None else lifts[:, p])
    order = p if group.one_lift else (2 * p[:, None] + torch.arange(2)).flatten()
    torch.testing.assert_close(moved.feat, out.feat[:, order])
    torch.testing.assert_close(moved.pos, out.pos[:, order])


@pytest.mark.parametrize("keep_fraction", [1.0, 0.3])
def test_padding_and_batch(group, keep_fraction):
    """Padding, its values, and the other clouds of the batch change nothing."""
    net, (pos, feat, mask, *_) = backbone(group, keep_fraction=keep_fraction), cloud(group.dim)
    out = net(PointCloud(pos, feat.masked_fill(~mask.unsqueeze(-1), torch.nan), mask))
    for b, n in enumerate(mask.sum(1).tolist()):
        single = net(PointCloud(pos[b : b + 1, :n], feat[b : b + 1, :n], mask[b : b + 1, :n]))
        torch.testing.assert_close(out.feat[b][out.mask[b]], single.feat[0])
        torch.testing.assert_close(out.pos[b][out.mask[b]], single.pos[0])
    assert (out.feat[~out.mask] == 0).all()


def test_batch_statistics_ignore_padding(group):
    """Training mode too: batch norm sees real points only."""
    short = cloud(group.dim)
    longer = PointCloud(*(torch.cat([x, torch.ones_like(x[:, :4])], 1) for x in short[:3]))
    longer.mask[:, short.mask.shape[1] :] = False
    lifts = None
    if not group.one_lift:
        lifts = group.stabilizer(*longer.mask.shape, num_lifts=2, dtype=torch.float64)
        lifts = group.lift(longer.pos, lifts)
    nets = [backbone(group, fill=1.0, max_neighbors=99).train() for _ in range(3)]
    before = [b.clone() for b in nets[2].buffers()]
    nets[0](short, None if lifts is None else lifts[:, : short.mask.shape[1]])
    nets[1](longer, lifts)
    moved = 0
    for a, b, c in zip(nets[0].buffers(), nets[1].buffers(), before, strict=True):
        torch.testing.assert_close(a, b)
        moved += not torch.equal(a, c)
    assert moved >= 2 * 13  # both statistics of every norm


def test_evaluation_repeats(group):
    net = backbone(group)
    torch.manual_seed(1)
    first = net(cloud(group.dim)).feat
    torch.manual_seed(2)
    assert torch.equal(net(cloud(group.dim)).feat, first)


@pytest.mark.parametrize("group", [T(3), SE3()], ids=str)
def test_training_samples_anew(group):
    net = backbone(group).train()
    assert not torch.equal(net(cloud(3)).feat, net(cloud(3)).feat)


@pytest.mark.parametrize("keep_fraction", [1.0, 0.3])
def test_reload_equals_stored(group, keep_fraction):
    net, fresh = (
        backbone(group, keep_fraction=keep_fraction),
        backbone(group, fitted=False, keep_fraction=keep_fraction),
    )
    with pytest.raises(InputError, match="not set"):
        fresh(cloud(group.dim))
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh(cloud(group.dim)).feat, net(cloud(group.dim)).feat)


def test_gradients_are_finite(group):
    """Also at coincident points and at the origin."""
    net, (pos, feat, mask, *_) = backbone(group).train(), cloud(group.dim)
    pos = pos.clone()
    pos[0, 0], pos[0, 1] = 0, pos[0, 2]
    net(
        PointCloud(pos.requires_grad_(), feat.requires_grad_(), mask)
    ).feat.square().sum().backward()
    for x in (pos, feat, *(p for p in net.parameters() if p.requires_grad)):
        assert x.grad.isfinite().all()
    assert feat.grad.abs().sum() > 0


@pytest.mark.parametrize("group", [T(3), SE3()], ids=str)
def test_gradients_by_functorch(group):
    """torch.func cannot look into native code, so it gets plain PyTorch."""
    net, (pos, feat, mask, *_) = backbone(group).float(), cloud(group.dim)
    inputs = PointCloud(pos.float(), feat.float(), mask)
    parameters = {name: p for name, p in net.named_parameters() if p.requires_grad}

    def loss(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.func.functional_call(net, parameters, (inputs,)).feat.square().sum()

    found = torch.func.grad(loss)(parameters)
    expected = torch.autograd.grad(loss(parameters), list(parameters.values()))
    for mine, other in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


def test_nan_position_gives_nan(group):
    """In value and gradient, for its own cloud alone; and radii are never set on one."""
    net, clouds = backbone(group), cloud(group.dim)
    expected = net(clouds).feat
    clouds.pos[1, 3, 0] = torch.nan
    pos = clouds.pos.requires_grad_()
    out = net(clouds).feat
    assert out[1].isnan().all()
    torch.testing.assert_close(out[[0, 2]], expected[[0, 2]])
    (gradient,) = torch.autograd.grad(out[1].sum(), pos)
    assert gradient[1].isnan().any()
    with pytest.raises(InputError, match="positions that are not finite"):
        net.calibrate(clouds)


def test_masked_points_get_no_gradient(group):
    net, (pos, feat, mask, *_) = backbone(group), cloud(group.dim)
    net(PointCloud(pos, feat.requires_grad_(), mask)).feat.square().sum().backward()
    assert (feat.grad[~mask] == 0).all()


# -- grids


def grid_cloud(batch=3, side=9, jitter=0.2) -> PointCloud:
    generator = torch.Generator().manual_seed(0)
    axis = torch.linspace(-4, 4, side, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    grid = grid + jitter * torch.randn(grid.shape, dtype=torch.float64, generator=generator)
    feat = torch.randn(batch, len(grid), 5, dtype=torch.float64, generator=generator)
    return PointCloud(grid[None], feat, torch.ones(1, len(grid), dtype=torch.bool))


PLANAR = [g for g in GROUPS if g.dim == 2]


def grid_net(group, **options) -> LieResNet:
    options = {
        "keep_fraction": 0.3,
        "fill": 0.2,
        "max_neighbors": 6,
        "grid": grid_cloud().pos[0],
        **options,
    }
    return backbone(group, fitted=False, **options)


@pytest.mark.parametrize("group", PLANAR, ids=str)
def test_shared_grid_equals_single_clouds(group):
    """Geometry computed once for all images gives what every image gets when it brings its own."""
    net, (pos, feat, mask, *_) = grid_net(group), grid_cloud()
    torch.manual_seed(0)
    net.train()(grid_cloud())
    net.eval()
    own = backbone(group, fitted=False, keep_fraction=0.3, fill=0.2, max_neighbors=6)
    own.geometry.lift_table = net.geometry.lift_table  # one lift for each pixel
    own.load_state_dict(net.state_dict())
    out = own(PointCloud(pos.expand(3, -1, -1), feat, mask.expand(3, -1)))
    shared = net(grid_cloud())
    torch.testing.assert_close(shared.feat, out.feat)
    torch.testing.assert_close(shared.pos.expand_as(out.pos), out.pos)


def test_grid_geometry_follows_reload_and_dtype():
    net, other = grid_net(SE2()), grid_net(SE2())
    state = net.state_dict()
    state["geometry.lift_table"] = state["geometry.lift_table"].flip(0)
    other.load_state_dict(state)
    assert not torch.equal(net(grid_cloud()).feat, other(grid_cloud()).feat)
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(grid_cloud()).feat, other(grid_cloud()).feat)
    cloud32 = PointCloud(*(x if x.dtype == torch.bool else x.float() for x in grid_cloud()[:3]))
    torch.testing.assert_close(
        other.float()(cloud32).feat.double(), net(grid_cloud()).feat, rtol=1e-3, atol=1e-3
    )


def test_ties_of_a_regular_grid_do_not_depend_on_rounding():
    """A checkpoint must find the same points and neighbors on every machine: a hair's breadth
    changes no choice.
    """
    axis = torch.linspace(-4, 4, 9, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    for group in (T(2), SO2()):
        nets = [grid_net(group, grid=g) for g in (grid, grid * (1 + 1e-15), grid.float())]
        blocks = [net.geometry(None, None) for net in nets]
        choices = [
            [(n.index, n.slots) for n in net.geometry.neighborhoods(b)]
            for net, b in zip(nets, blocks, strict=True)
        ]
        kept = [[block.kept[0] for block in b] for b in blocks]
        for other in (1, 2):
            for a, b in zip(kept[0], kept[other], strict=True):
                assert torch.equal(a, b)
            for a, b in zip(choices[0], choices[other], strict=True):
                assert all(x is y or torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_kept_points_are_those_of_forward():
    net = grid_net(SO2())
    out, kept = net(grid_cloud()), net.kept(grid_cloud())
    assert torch.equal(out.pos, kept.pos)
    assert torch.equal(out.mask, kept.mask)
    assert out.feat.shape[1] == round(81 * 0.3**0.5 * 0.3**0.5) == 24
    assert out.feat.shape[2] == net.out_channels > 16


# -- cost


def kernel_rows(net, clouds) -> list[int]:
    rows = []
    hooks = [
        b.conv.kernel.register_forward_hook(lambda m, i, o: rows.append(len(i[0])))
        for b in net.blocks
    ]
    net(clouds)
    for hook in hooks:
        hook.remove()
    return rows


def test_a_step_in_the_padded_layout_never_asks_the_device(monkeypatch, qm9, digits):
    """No `.item()`, `.tolist()`, `.cpu()`, `bool()` or `nonzero()` on the way forward: each makes a
    GPU wait.
    """
    data, _ = qm9.prepare_batch(qm9.get_batch(torch.arange(8)), augment=True)
    images, _ = digits.prepare_batch(digits.get_batch(torch.arange(4)), augment=True)
    options = {"width": 8, "blocks": 2, "layout": "padded"}
    lifted = {"fill": 0.5, "max_neighbors": 5, "num_lifts": 2, **options}
    image_net = LieResNet(
        1,
        SO2(),
        width=8,
        blocks=3,
        fill=0.1,
        max_neighbors=25,
        keep_fraction=0.1**0.5,
        grid=digits.grid,
    )
    cases = [
        (LieResNet(15, T(3), **options), data),
        (LieResNet(15, E3(), **options), data),
        (LieResNet(15, T(3), **options), data._replace(sizes=None)),
        (LieResNet(15, SO3(), **lifted), data),
        (LieResNet(15, SE3(), keep_fraction=0.5, **lifted), data),
        (image_net, images),
    ]
    for net, batch in cases:
        net.calibrate(batch)

    def refuse(*args, **kwargs):
        raise AssertionError("a step asked the device")

    cpu_only = "gigp.backbones.lieconv.sampling.use_cpu_kernels"
    monkeypatch.setattr(cpu_only, lambda x: False)  # as on a GPU
    for name in ("item", "tolist", "cpu", "__bool__", "__int__", "__float__", "nonzero", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    for net, batch in cases:
        assert net(batch).feat.shape[0] == len(batch.feat)


def test_sizes_that_travel_with_the_batch(qm9):
    data, _ = qm9.prepare_batch(qm9.get_batch(torch.arange(40)), augment=False)
    assert data.sizes is not None
    net = LieResNet(15, T(3), width=8, blocks=2).eval()
    assert torch.equal(net(data).feat, net(data._replace(sizes=None)).feat)


def test_kernel_rows_are_real_pairs():
    """The kernel MLP runs on real pairs: not on padding, once for all images of a grid, on at most
    `max_neighbors` neighbors.
    """
    assert (
        kernel_rows(backbone(T(3), fill=1.0, max_neighbors=99), cloud(3))
        == [7**2 + 12**2 + 4**2] * 2
    )
    assert max(kernel_rows(backbone(T(3), fill=1.0, max_neighbors=3), cloud(3))) == 3 * (7 + 12 + 4)
    one, many = (
        kernel_rows(grid_net(SO2()), grid_cloud(1)),
        kernel_rows(grid_net(SO2()), grid_cloud(50)),
    )
    assert one == many
    assert one[0] <= 6 * 44


@pytest.mark.parametrize(
    ("group", "options", "message"),
    [
        (T(3), {"num_lifts": 2}, "acts freely"),
        (E3(), {"num_lifts": 2}, "isotropically has one lift"),
        (SE3(), {"num_lifts": 0}, "num_lifts=0"),
        (T(3), {"width": 2}, "width=2: it must be a whole number, 4 or larger"),
        (T(3), {"width": 16.0}, r"width=16\.0: it must be a whole number"),
        (T(3), {"blocks": 0}, "blocks=0: it must be a whole number, 1 or larger"),
        (SO3, {}, r"group is the class SO3; pass an object of it, as SO3\(\)"),
        (T(3), {"fill": 0.0}, "positive"),
        (T(3), {"max_neighbors": 0}, "at least 1"),
        (T(3), {"kernel_norm": "layer"}, "batch, none"),
    ],
)
def test_bad_options(group, options, message):
    with pytest.raises(InputError, match=message):
        LieResNet(5, group, **options)


def test_bad_clouds():
    with pytest.raises(InputError, match="3-dimensional positions, not 2"):
        backbone(T(3))(cloud(2))
    with pytest.raises(InputError, match="5 input channels, not 4"):
        backbone(T(3))(PointCloud(cloud(3).pos, cloud(3).feat[..., :4], cloud(3).mask))
    with pytest.raises(InputError, match="grid"):
        grid_net(SO2())(cloud(2))
    pos, feat, mask, *_ = cloud(3)
    for given, message in (
        ((pos, feat, mask), "tuple is not a gigp.PointCloud"),
        (PointCloud(pos.numpy(), feat, mask), "pos is a ndarray; pass a tensor"),
        (PointCloud(pos, feat, mask.float()), r"pass mask\.bool\(\)"),
        (PointCloud(pos[0], feat, mask), r"pos \(\d+, 3\), feat .* expected \(B, N, d\)"),
        (PointCloud(pos, feat[:, 1:], mask), r"expected \(B, N, d\), \(B, N, c\) and \(B, N\)"),
        (PointCloud(pos, feat, mask[:1]), r"expected \(B, N, d\)"),
    ):
        for call in (backbone(T(3)), backbone(T(3)).calibrate):
            with pytest.raises(InputError, match=message):
                call(given)
    reversed_mask = torch.stack([mask[0], mask[1], mask[2].flip(0)])
    with pytest.raises(InputError, match="cloud 2 of the batch has padding before a real point"):
        backbone(T(3))(PointCloud(pos, feat, reversed_mask))
