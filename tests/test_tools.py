"""Tools that act on the call of modules, on a whole network: every layer is called, or a faster
path computes the same.
"""

import copy

import pytest
import torch
import torch.ao.nn.quantized.dynamic as nnqd
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.utils import parametrizations, prune, weight_norm

from gigp import GIGP, GIGPAggregation, LieResNet, PointCloud
from gigp.groups import SO3, T

SIZES = (9, 4, 7)


class Net(nn.Module):
    """LieConv, GIGP and a linear layer: all that has weights, on the published kernel widths.

    Args:
        layout: layout of LieConv; with `packed` GIGP is an aggregation of PyTorch Geometric.
    """

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.backbone = LieResNet(3, T(3), width=16, blocks=2, layout=layout)
        make = GIGPAggregation if layout == "packed" else GIGP
        self.pool = make(16, SO3(), orbits=9, membership="hat")
        self.head = nn.Linear(16, 2)

    def forward(self, cloud: PointCloud) -> Tensor:
        points, mask = self.backbone(cloud), cloud.mask
        if isinstance(self.pool, GIGP):
            return self.head(self.pool(points.feat, points.pos, mask))
        index = torch.arange(len(mask)).repeat_interleave(mask.sum(1))
        return self.head(self.pool(points.feat[mask], index, pos=points.pos[mask]))


@pytest.fixture
def cloud() -> PointCloud:
    generator = torch.Generator().manual_seed(0)
    shape = len(SIZES), max(SIZES)
    pos = torch.randn(*shape, 3, generator=generator)
    feat = torch.randn(*shape, 3, generator=generator)
    return PointCloud(pos, feat, torch.arange(shape[1]) < torch.tensor(SIZES)[:, None])


@pytest.fixture(params=["packed", "padded"])
def net(request, cloud, monkeypatch) -> Net:
    """A network in training, with the faster paths of CPUs in use at any size."""
    monkeypatch.setattr("gigp.nn.linear.FEW_NUMBERS", 0)
    torch.manual_seed(0)
    net = Net(request.param)
    getattr(net.pool, "pool", net.pool).fit([cloud])
    for parameter in net.pool.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net


def linears(net: nn.Module) -> dict[str, nn.Linear]:
    return {name: layer for name, layer in net.named_modules() if isinstance(layer, nn.Linear)}


def train(net: nn.Module, cloud: PointCloud, steps: int = 2) -> list[float]:
    """Losses of a few steps."""
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 1e-2)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = net(cloud).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def close(x: Tensor, y: Tensor) -> None:
    torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


def test_hooks_on_every_module_are_called(net, cloud):
    expected, called, back = copy.deepcopy(net)(cloud), set(), set()
    for name, module in net.named_modules():
        module.register_forward_hook(lambda *_, name=name: called.add(name))
        if isinstance(module, nn.Linear):
            module.register_full_backward_hook(lambda *_, name=name: back.add(name))
    out = net(cloud._replace(feat=cloud.feat.clone().requires_grad_()))
    close(out, expected)
    out.sum().backward()
    assert called == {n for n, m in net.named_modules() if not isinstance(m, nn.ModuleList)}
    assert back == linears(net).keys()


def test_hooks_on_all_modules_at_once_are_called(net, cloud):
    called = set()
    hook = nn.modules.module.register_module_forward_hook(lambda module, *_: called.add(module))
    try:
        net(cloud)
    finally:
        hook.remove()
    assert called >= set(linears(net).values())


def test_low_rank_adapters(net, cloud):
    """Every adapter learns, and merged it does the same."""
    peft = pytest.importorskip("peft", reason="peft is not installed")
    expected, number = net.eval()(cloud), len(linears(net))
    options = peft.LoraConfig(r=2, target_modules=list(linears(net)), init_lora_weights=False)
    adapted = peft.get_peft_model(net, options)
    out = adapted(cloud)
    assert (out - expected).abs().max() > 0.1
    out.square().sum().backward()
    grads = [p.grad for p in adapted.parameters() if p.requires_grad]
    assert len(grads) == 2 * number
    assert all(grad is not None and bool(grad.any()) for grad in grads)
    close(adapted.merge_and_unload()(cloud), out)


def test_pruning(net, cloud):
    for layer in linears(net).values():
        prune.l1_unstructured(layer, "weight", amount=0.5)
    train(net, cloud)
    out = net.eval()(cloud)
    for layer in linears(net).values():
        prune.remove(layer, "weight")
        assert (layer.weight == 0).sum() == layer.weight.numel() // 2
    close(net(cloud), out)


@pytest.mark.parametrize("kind", ["hook", "parametrization"])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_weight_norm(net, cloud, kind):
    """Norms learn, and the weights that they make are those that count."""
    plain = copy.deepcopy(net)
    for layer in linears(net).values():
        (weight_norm if kind == "hook" else parametrizations.weight_norm)(layer)
    losses = train(net, cloud)
    assert losses[0] == pytest.approx(train(plain, cloud)[0], rel=1e-4)
    assert losses[1] != losses[0]
    out = net.eval()(cloud)
    for layer in linears(net).values():
        if kind == "hook":
            nn.utils.remove_weight_norm(layer)
        else:
            nn.utils.parametrize.remove_parametrizations(layer, "weight")
    assert all(type(layer) is nn.Linear for layer in linears(net).values())
    close(net(cloud), out)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_dynamic_quantization(net, cloud):
    expected, number = net.eval()(cloud), len(linears(net))
    small = torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, torch.qint8)
    kinds = [type(module) for module in small.modules()]
    assert (kinds.count(nn.Linear), kinds.count(nnqd.Linear)) == (0, number)
    error = (small(cloud) - expected).abs().max() / expected.abs().max()
    assert 0 < error < 0.1


def test_offloaded_weights(net, cloud):
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    expected = net.eval()(cloud)
    accelerate.cpu_offload(net, execution_device="cpu")
    assert all(p.device.type == "meta" for p in net.parameters())
    with torch.no_grad():
        close(net(cloud), expected)


@pytest.fixture
def process_group(tmp_path):
    """One process that is connected to itself."""
    dist.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("shard", ["layers", "blocks"])
def test_sharded_weights(net, cloud, process_group, shard):
    plain = copy.deepcopy(net)
    blocks = [*net.backbone.blocks, net.pool, net.head]
    for module in linears(net).values() if shard == "layers" else blocks:
        fully_shard(module)
    fully_shard(net)
    assert train(net, cloud, 3) == pytest.approx(train(plain, cloud, 3), rel=1e-4)
