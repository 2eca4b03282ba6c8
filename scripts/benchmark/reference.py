"""The reference implementations, imported from checkouts of their public repositories, to measure
against.

github.com/mfinzi/LieConv (the backbone) and github.com/YonatanGideoni/gigp (the pool). Nothing else
in this project needs them. The README lists where this project differs from them on purpose.
"""

import importlib
import sys
from typing import Any

import torch
from torch import Tensor, nn

from gigp.backbones.lieconv import LieResNet
from gigp.backbones.lieconv.layout import Packed
from gigp.errors import InputError
from gigp.groups import SO2, T
from gigp.lab.model import PointCloudModel
from gigp.pointcloud import PointCloud, Sizes
from gigp.pools.base import MeanPool

# files that are used of each checkout
MODULES = {"lieconv": "lie_conv.lieConv", "gigp": "architectures.baselines"}


class ReferenceNet(nn.Module):
    """A reference net that predicts from one prepared batch."""

    def __init__(self, net: nn.Module, disk: Tensor | None = None) -> None:
        super().__init__()
        self.net, self.disk = net, disk

    def prepare(self, cloud: PointCloud) -> Any:
        """Inputs of the reference: tensors and mask, or images."""
        if self.disk is None:
            return cloud.pos, cloud.feat, cloud.mask
        images = torch.zeros(len(cloud.feat), self.disk.numel())
        images[:, self.disk] = cloud.feat.squeeze(-1)
        side = round(self.disk.numel() ** 0.5)
        return images.view(-1, 1, side, side)

    def forward(self, batch: Any) -> Tensor:
        return self.net(batch)


def load_module(path: str, module: str) -> Any:
    """Import a module of a checkout."""
    if path not in sys.path:
        sys.path.insert(0, path)
    return importlib.import_module(module)


def check(lieconv: str | None, gigp: str | None) -> None:
    """Import all that is needed of the checkouts.

    Raises:
        InputError: a path is not such a checkout, or a package that the reference needs is not
            installed.
    """
    for name, path in (("lieconv", lieconv), ("gigp", gigp)):
        if path is None:
            continue
        try:
            load_module(path, MODULES[name])
        except ModuleNotFoundError as error:
            if MODULES[name].startswith(str(error.name)):
                raise InputError(
                    f"{path}: not a checkout of the reference; {MODULES[name]} is missing."
                ) from None
            raise InputError(
                f"the reference in {path} needs the package {error.name}, which is not part of "
                f"this environment: pip install {error.name}"
            ) from None


def build_net(path: str, cfg: Any, data: Any) -> ReferenceNet:
    """The reference's net with the settings of a configuration of ours."""
    nets, groups = load_module(path, "lie_conv.lieConv"), load_module(path, "lie_conv.lieGroups")
    name, backbone = cfg.choices.group, cfg.backbone
    group = {
        "T3": lambda: groups.T(3),
        "SE3": lambda: groups.SE3(alpha=cfg.group.alpha),
        "SO2": lambda: groups.SO2(alpha=cfg.group.alpha),
        "SE2": lambda: groups.SE2(alpha=cfg.group.alpha),
    }[name]()
    options = {
        "k": backbone.width,
        "num_layers": backbone.blocks,
        "fill": backbone.fill,
        "nbhd": backbone.max_neighbors,
        "liftsamples": backbone.num_lifts,
        "group": group,
    }
    if data.grid is None:
        net = nets.LieResNet(
            chin=data.in_channels, num_outputs=data.out_dim, ds_frac=1, mean=True, **options
        )
        return ReferenceNet(net)
    net = nets.ImgLieResnet(
        chin=data.in_channels, num_targets=data.out_dim, total_ds=backbone.keep_fraction, **options
    )
    return ReferenceNet(net, data.disk)


class ReferenceGIGP(nn.Module):
    """The reference's pool on plain positions: its orbit coordinate is an entry of its pair
    tensor.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, cloud: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        pos, feat, mask = cloud
        radius = pos.norm(dim=-1)[..., None, None]  # (B, N, 1, 1)
        return self.layer((radius.expand(-1, -1, 2, 2), feat, mask))


def build_gigp(path: str, channels: int, orbits: int) -> ReferenceGIGP:
    """The reference's pool with the paper's settings, and hidden layers of twice the channels."""
    layer = load_module(path, "architectures.baselines").LieConvGIGP(
        in_dim=channels,
        out_dim=channels,
        hidden_dim=2 * channels,
        n_orbs=orbits,
        orbs_agg_dist=0.5,
        agg="weighted_sum",
        init_glob_pool=True,
        init_glob_pool_mean=True,
    )
    return ReferenceGIGP(layer)


def copy_weights(ours: PointCloudModel, theirs: nn.Module) -> None:
    """Give our net the weights of a reference net of the same shape.

    The reference flattens channels x kernel numbers before the linear layer of a convolution, this
    project kernel numbers x channels.
    """
    linears = lambda module: [m for m in module.modules() if isinstance(m, nn.Linear)]  # noqa: E731
    backbone: Any = ours.backbone
    mine = [backbone.embed]
    for block in backbone.blocks:
        mine += [
            *linears(block.conv.kernel),
            block.conv.linear,
            *linears(block.reduce),
            *linears(block.expand),
        ]
    factored = {id(block.conv.linear) for block in backbone.blocks}
    with torch.no_grad():
        for target, source in zip([*mine, ours.head], linears(theirs), strict=True):
            weight = source.weight
            if id(target) in factored:
                weight = weight.unflatten(1, (-1, 16)).transpose(1, 2).flatten(1)
            target.weight.copy_(weight)
            target.bias.copy_(source.bias)
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm1d):
            # the reference clamps the variance; batch norm here adds an eps instead
            module.eps = 1e-12


def parity(path: str, width: int = 64) -> dict[str, float]:
    """Largest difference between our outputs and the reference's, relative to its largest output,
    in fp32.

    Both are deterministic on full neighborhoods: random clouds of 8 to 27 points, all of them
    neighbors.
    """
    nets, groups = load_module(path, "lie_conv.lieConv"), load_module(path, "lie_conv.lieGroups")
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(8, 28, (40,), generator=generator)
    mask = torch.arange(int(sizes.max())) < sizes[:, None]
    differences = {}
    for group, same in ((T(3), groups.T(3)), (SO2(0.2), groups.SO2(alpha=0.2))):
        torch.manual_seed(0)
        pos = 2 * torch.randn(*mask.shape, group.dim, generator=generator)
        feat = torch.randn(*mask.shape, 15, generator=generator) * mask[..., None]
        theirs = nets.LieResNet(
            chin=15, num_outputs=3, ds_frac=1, k=width, nbhd=100, fill=1.0, group=same, mean=True
        )
        ours = PointCloudModel(LieResNet(15, group, width=width), MeanPool(3), 3)
        copy_weights(ours, theirs)
        for module in theirs.modules():
            if isinstance(getattr(module, "r", None), Tensor):
                module.r.fill_(1e6)  # radius of the ball: everything
        for mode in ("train", "eval"):
            ours.train(mode == "train"), theirs.train(mode == "train")
            layers: dict[nn.Module, Any] = {}  # what the first convolution of each net returns
            backbone: Any = ours.backbone
            first = backbone.blocks[0].conv, first_convolution(theirs, nets)
            hooks = [
                m.register_forward_hook(lambda m, _, output, to=layers: to.update({m: output}))
                for m in first
            ]
            with torch.no_grad():
                mine, expected = ours(PointCloud(pos, feat, mask)), theirs((pos, feat, mask))
            for hook in hooks:
                hook.remove()
            layer = Packed.of(Sizes.of(mask)).clouds(layers[first[0]])[mask]
            differences[f"layer {group}, {mode}"] = relative_difference(
                layer, layers[first[1]][1][mask]
            )
            differences[f"net {group}, {mode}"] = relative_difference(mine, expected)
    return differences


def first_convolution(net: nn.Module, nets: Any) -> nn.Module:
    return next(module for module in net.modules() if isinstance(module, nets.LieConv))


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())
