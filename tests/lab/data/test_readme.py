"""The page on the data agrees with the code: checksums, sizes, hashes."""

from gigp.lab.data.targets import HARTREE
from gigp.lab.hashing import hash_split
from gigp.lab.images import rotmnist
from gigp.lab.images.rotmnist import VALIDATION
from gigp.lab.images.rotmnist_sources import MD5, POOLS, URL
from gigp.lab.molecules.qm9 import SPLITS, split_indices
from gigp.lab.molecules.qm9_sources import QM9PACK_SHA256
from tests.conftest import ROOT

PAGE = (ROOT / "data" / "README.md").read_text()


def test_checksums_and_addresses():
    for name, digest in QM9PACK_SHA256.items():
        assert f"| `{name}` | `{digest}` |" in PAGE
    assert MD5 in PAGE
    assert URL in PAGE
    assert f"{HARTREE} eV" in PAGE


def test_sizes_and_hashes():
    for split, (seed, (train, val, test)) in SPLITS.items():
        line = next(line for line in PAGE.splitlines() if line.startswith(f"| `{split}`"))
        assert (
            f"| {seed} | {train:,} / {val:,} / {test:,} | `{hash_split(split_indices(split))}` |"
            in line
        )
    for source, (fit, test) in POOLS.items():
        line = next(line for line in PAGE.splitlines() if line.startswith(f"| `{source}`"))
        assert line.endswith(
            f"| {fit - VALIDATION[source]:,} / {VALIDATION[source]:,} / {test:,} "
            f"| `{hash_split(rotmnist.split_indices(source), source)}` |"
        )


def test_hashes_of_rotated_digits_stay():
    """Records of one split must not differ in its hash, as they would if its definition changed."""
    for digest in ("173d0fdd771c", "e853e81e580d", "7c856b7a6e93"):
        assert f"`{digest}` |" in PAGE
