"""Programs of torch.export: the same numbers, for any batch, without this package; and what cannot
be exported.
"""

import subprocess
import sys

import pytest
import torch
from torch.export import Dim, export
from torch.nn.utils.rnn import pad_sequence

from gigp import GIGP, LieResNet, PointCloud
from gigp.errors import InputError
from gigp.groups import E3, SO3, Group, T
from gigp.lab.config.compose import compose_config
from gigp.lab.config.instantiate import instantiate
from gigp.lab.config.paths import MODELS
from gigp.lab.molecules.readers.molecule import Molecule, make_molecule
from gigp.lab.prediction import Predictor, export_model
from gigp.lab.training.run import run
from tests.conftest import DATA, tiny

APART = """
import sys, torch
program = torch.export.load(sys.argv[1]).module()
images, expected = torch.load(sys.argv[2], weights_only=True)
for num in (1, 7, len(images)):
    torch.testing.assert_close(program(images[:num]), expected[:num], rtol=1e-5, atol=1e-6)
assert not [name for name in sys.modules if name.startswith("gigp")]
"""


@pytest.mark.parametrize("group", ["SO2", pytest.param("SE2", marks=pytest.mark.slow)])
def test_images(configure, digits, tmp_path, group):
    """Probabilities of digits that the program has not seen, for batches of other sizes, in a
    process of its own.
    """
    options = tiny(epochs=1, train=100, val=20, test=20)
    run(
        configure(
            "dataset=rotmnist", f"group={group}", "pool=gigp", "lr=1e-2", *options, "name=digits"
        )
    )
    folder = tmp_path / "runs" / "digits" / "seed0"
    program = export_model(folder)
    images = digits.images[digits.indices["test"][:60]].float()
    expected = Predictor(folder)([*images])[:, 1:].float()
    assert expected.std(0).max() > 1e-3  # images are distinguished
    for num in (1, 60):
        torch.testing.assert_close(
            program.module()(images[:num]), expected[:num], rtol=1e-5, atol=1e-6
        )
    if group == "SE2":
        torch.export.save(program, tmp_path / "digits.pt2")
        torch.save((images, expected), tmp_path / "digits.pt")
        subprocess.run(
            [sys.executable, "-c", APART, tmp_path / "digits.pt2", tmp_path / "digits.pt"],
            check=True,
        )


@pytest.mark.parametrize(
    ("membership", "channels"),  # few numbers, and so many that eager mode hands them to oneDNN
    [
        *[("ball", 16), ("hat", 16), ("nearest", 200), ("smooth", 200)],
        *[
            pytest.param(membership, channels, marks=pytest.mark.slow)
            for membership, channels in (
                ("ball", 200),
                ("hat", 200),
                ("nearest", 16),
                ("smooth", 16),
            )
        ],
    ],
)
def test_pool_with_any_number_of_clouds_and_points(membership, channels):
    pool = GIGP(channels, SO3(), membership=membership, init="random").eval()
    pool.orbits.fit(0.0, 4.0)

    def clouds(num: int, points: int) -> tuple[torch.Tensor, ...]:
        mask = torch.arange(points) < torch.randint(1, points + 1, (num, 1))
        return torch.randn(num, points, channels), torch.randn(num, points, 3), mask

    sizes = {0: Dim("clouds", min=1), 1: Dim("points", min=1)}
    program = export(pool, clouds(3, 5), dynamic_shapes=(sizes, sizes, sizes)).module()
    for num, points in ((1, 1), (1, 9), (40, 29)):
        given = clouds(num, points)
        torch.testing.assert_close(program(*given), pool(*given), rtol=1e-4, atol=1e-5)


def padded(molecules: list[Molecule]) -> tuple[torch.Tensor, torch.Tensor]:
    """Charges (B, N) and positions (B, N, 3)."""
    charges = pad_sequence([m.charges for m in molecules], batch_first=True).long()
    return charges, pad_sequence([m.positions for m in molecules], batch_first=True)


@torch.no_grad()
class Net(torch.nn.Module):
    """LieConv and GIGP on a padded batch."""

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.net = LieResNet(3, group, width=8, blocks=1)
        self.pool = GIGP(8, SO3(), orbits=5, membership="hat")
        self.pool.orbits.fit(0.0, 3.0)

    def forward(self, pos, feat, mask):
        points = self.net(PointCloud(pos, feat, mask))
        return self.pool(points.feat, points.pos, points.mask)


@pytest.mark.parametrize("group", [pytest.param(T(3), marks=pytest.mark.slow), E3()], ids=str)
def test_a_network_on_padded_clouds_of_any_size(group):
    """Against the packed layout of eager mode."""

    def clouds(*sizes):
        mask = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
        return torch.randn(*mask.shape, 3), torch.randn(*mask.shape, 3), mask

    net = Net(group).eval()
    shapes = {0: Dim("clouds", min=1), 1: Dim("points", min=2, max=100)}
    program = export(net, clouds(3, 5, 4), dynamic_shapes=(shapes,) * 3).module()
    for sizes in ((2,), (9, 3), (1, 7, 7, 2, 12)):
        given = clouds(*sizes)
        torch.testing.assert_close(program(*given), net(*given), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_thousand_molecules():
    """Predictions are those of `Predictor`, for test molecules in batches of any size."""
    data = instantiate(compose_config(["dataset=qm9", f"dataset.cache={DATA}"]).dataset)
    data.setup()
    chosen = [
        make_molecule(data.charges[i][data.mask[i]].tolist(), data.positions[i][data.mask[i]])
        for i in data.indices["test"][:1000]
    ]
    expected = Predictor(MODELS / "qm9", check=False, extrapolate=True)(chosen)
    program = export_model(MODELS / "qm9").module()
    found = [program(*padded(chosen[:1]))]
    found += [program(*padded(chosen[i : i + 64])) for i in range(1, len(chosen), 64)]
    assert len(expected) == 1000
    torch.testing.assert_close(torch.cat(found), expected, rtol=1e-5, atol=1e-5)


def test_networks_with_random_lifts_cannot_be_exported(configure, tmp_path, qm9):
    run(configure(*tiny(epochs=1, train=20, val=10, test=10), "group=SE3", "name=molecules"))
    with pytest.raises(InputError, match=r"cannot be exported: .* one lift for each atom"):
        export_model(tmp_path / "runs" / "molecules" / "seed0")
