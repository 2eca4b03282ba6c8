"""Networks of PyTorch Geometric for which the host waits, and what for."""

from collections import Counter

import pytest
import torch

from gigp.backbones.dimenet import DimeNetPlusPlus
from gigp.backbones.invariant import RadiusGraph, SchNet, ViSNet
from gigp.groups import T
from scripts.benchmark.operations import OperationCounter

NETS = {
    "schnet": (SchNet, {"channels": 16, "layers": 2, "gaussians": 8}),
    "visnet": (ViSNet, {"channels": 16, "layers": 2, "heads": 2, "radial": 8}),
    "dimenet": (DimeNetPlusPlus, {"channels": 16, "layers": 1, "spherical": 2, "radial": 2}),
}


def waits(work) -> Counter:
    """The operations for which the host would wait on a GPU."""
    with OperationCounter() as counter, torch.no_grad():
        work()
    return Counter(counter.waiting)


# besides the list of pairs: triplets, and the self-loops that ViSNet masks inside PyTorch Geometric
FURTHER = {
    "schnet": {},
    "visnet": {"index": 5, "index_put_": 1, "_local_scalar_dense": 1},
    "dimenet": {"index": 2},
}


@pytest.mark.parametrize("name", NETS)
def test_the_host_waits_for_the_lists_of_pairs(qm9, name, monkeypatch):
    """How many pairs and triplets there are only the device knows, so fake CUDA tensors cannot go
    through these networks; the atoms of a batch are picked without a question.
    """
    cloud, _ = qm9.prepare_batch(qm9.get_batch(torch.arange(5)), augment=False)
    cls, options = NETS[name]
    net = cls(in_channels=qm9.in_channels, group=T(3), atoms=qm9.atoms, **options).eval()
    found = []
    forward = RadiusGraph.forward

    def counted(self, *arguments):
        found.append(waits(lambda: forward(self, *arguments)))
        return forward(self, *arguments)

    whole = waits(lambda: net(cloud))
    monkeypatch.setattr(RadiusGraph, "forward", counted)
    net(cloud)
    (pairs,) = found
    assert pairs == {"nonzero": 1, "_local_scalar_dense": 2}  # molecules, and the largest
    assert whole - pairs == FURTHER[name]
