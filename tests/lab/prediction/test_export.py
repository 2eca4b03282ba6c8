"""Programs of torch.export: the same numbers, for any batch, without this package; and what cannot
be exported.
"""

import subprocess
import sys

import pytest
import torch
from torch.export import Dim, export

from gigp import GIGP
from gigp.errors import InputError
from gigp.groups import SO3
from gigp.lab.prediction import Predictor, export_model
from gigp.lab.training.run import run
from tests.conftest import tiny

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


@pytest.mark.parametrize("membership", ["ball", "nearest", "hat", "smooth"])
# few rows, and so many that eager mode hands them to oneDNN
@pytest.mark.parametrize("channels", [16, 200])
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


def test_molecules_cannot_be_exported(configure, tmp_path, qm9):
    run(configure(*tiny(epochs=1, train=20, val=10, test=10), "name=molecules"))
    with pytest.raises(
        InputError, match="is a run on QM9, which cannot be exported: its work depends on how many"
    ):
        export_model(tmp_path / "runs" / "molecules" / "seed0")
