"""Images of one's own: the same from a folder and from an .npz file, errors that name the file or
row, and a training on real digits whose predictions are those of its own test.
"""

import csv
import io
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from gigp.errors import InputError
from gigp.lab.images.images import Images
from gigp.lab.prediction import export_model, predict
from gigp.lab.training.run import run
from scripts.export_model import export
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "own_data.md").read_text()
SMALL = ("scale=debug", "trainer.max_epochs=2", "trainer.accelerator=cpu")
CLASSES = ("one", "zero")  # in the order of the outputs
NUM = 40  # digits of each class


@pytest.fixture(scope="module")
def real(digits):
    """Digits 0 and 1 as (n, 28, 28) uint8, with their labels, one after the other."""
    chosen = torch.stack([(digits.labels == i).nonzero()[:NUM, 0] for i in (1, 0)], 1).flatten()
    return digits.images[chosen].numpy(), np.array(["one", "zero"] * NUM)


def save_folder(folder, images, labels, ending="png"):
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / label / f"{i:03}.{ending}")
    return folder


def set_up(path, cache, **options) -> Images:
    data = Images(str(path), cache=str(cache), **options)
    data.setup()
    return data


def test_folder_and_archive_are_the_same(real, tmp_path):
    images, labels = real
    order = np.argsort(labels, kind="stable")  # a folder has one class after the other
    np.savez(tmp_path / "a.npz", images=images[order], labels=labels[order])
    np.savez(tmp_path / "b.npz", images=images[order] / 255, labels=labels[order])
    folder = save_folder(tmp_path / "folder", images, labels)
    (folder / ".hidden").mkdir()
    found = [set_up(path, tmp_path) for path in (folder, tmp_path / "a.npz", tmp_path / "b.npz")]
    for data in found:
        assert data.classes == CLASSES
        assert data.images.numpy().tobytes() == images[order].tobytes()
        assert data.labels.tolist() == [0] * NUM + [1] * NUM
        assert data.description["split_hash"] == found[0].description["split_hash"]
        assert data.description["sizes"] == {"train": 64, "val": 8, "test": 8}
        gray = data.images[data.indices["train"]].flatten(1)[:, data.points] / 255
        assert (data.mean, data.std) == pytest.approx(
            (gray.mean().item(), gray.std(unbiased=False).item()), rel=1e-5
        )
    cloud = next(found[0].train_clouds())
    assert cloud.feat.mean().item() == pytest.approx(0, abs=1e-5)
    assert cloud.feat.shape == (64, 648, 1)


def test_jpeg_files_are_nearly_the_same(real, tmp_path):
    images, labels = real
    data = set_up(save_folder(tmp_path / "jpeg", images, labels, "jpeg"), tmp_path)
    order = np.argsort(labels, kind="stable")
    assert (data.images.float() - torch.from_numpy(images[order]).float()).abs().mean() < 3


def test_classes_that_are_numbers_are_in_their_order(real, tmp_path):
    images, _ = real
    data_of = {}
    for name, labels in (("a", np.arange(len(images)) % 12), ("b", np.arange(len(images)) % 2 > 0)):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=labels)
        data_of[name] = set_up(tmp_path / f"{name}.npz", tmp_path)
    assert data_of["a"].classes == tuple(map(str, range(12)))
    assert data_of["a"].labels[:12].tolist() == list(range(12))
    assert data_of["b"].classes == ("False", "True")


def test_parts_that_the_files_name(real, tmp_path):
    images, labels = real
    words = np.array(["Train", "val", "test", "training"] * (len(images) // 4))
    for word in ("train", "val", "test"):
        chosen = np.char.lower(words) == word
        save_folder(tmp_path / "folder" / word, images[chosen], labels[chosen])
    np.savez(tmp_path / "a.npz", images=images, labels=labels, split=words)
    archive, folder = (set_up(tmp_path / name, tmp_path) for name in ("a.npz", "folder"))
    assert archive.indices["val"].tolist() == list(range(1, 80, 4))
    assert archive.description["sizes"] == {"train": 40, "val": 20, "test": 20}
    assert folder.description["sizes"] == {"train": 20, "val": 20, "test": 20}
    assert folder.description["split"] == "named in the files"
    assert folder.classes == CLASSES
    # the same images in both, in another order
    sums = [
        data.images[data.indices["val"]].sum((1, 2)).sort().values for data in (archive, folder)
    ]
    assert torch.equal(*sums)


def spoil_folder(folder, kind):
    """Spoil the third file of class zero, or the folder."""
    file = sorted((folder / "zero").iterdir())[2]
    if kind == "damaged":
        file.write_bytes(file.read_bytes()[:-200])
    elif kind == "size":
        Image.open(file).resize((32, 32)).save(file)
    elif kind == "not square":
        Image.open(file).resize((28, 30)).save(file)
    elif kind == "large":
        Image.open(file).resize((800, 800)).save(file)
    elif kind == "empty class":
        (folder / "two").mkdir()
    elif kind == "one class":
        shutil.rmtree(folder / "zero")
    elif kind == "no classes":
        for file in list(folder.glob("*/*.png")):
            file.rename(folder / file.name)
        for inner in CLASSES:
            (folder / inner).rmdir()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("damaged", r"zero/005\.png: not a complete png or jpeg file"),
        ("size", r"zero/005\.png: 32 x 32 pixels, but .*one/000\.png has 28 x 28; resize them"),
        ("not square", r"zero/005\.png: 30 x 28 pixels; images are gray and square, from 8 x 8"),
        ("large", r"zero/005\.png: 800 x 800 pixels; images are gray and square.* to 64 x 64"),
        ("empty class", r"two holds no file that ends in \.png, \.jpg, \.jpeg"),
        ("one class", "has 1 classes; there must be 2 to 256"),
        ("no classes", "holds no folders: give a folder with one subfolder of"),
    ],
)
def test_wrong_folders(real, tmp_path, kind, message):
    folder = save_folder(tmp_path / "folder", *real)
    spoil_folder(folder, kind)
    with pytest.raises(InputError, match=message):
        set_up(folder, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, r"has no arrays 'images' and 'labels'.* are labels \(80,\): rename"),
        ({"labels": None}, "has no arrays 'images' and 'labels', nor x_train"),
        ({"labels": np.arange(79)}, r"labels \(79,\) does not fit images \(80, 28, 28\)"),
        ({"labels": np.linspace(0, 1, 80)}, "has no labels of integers or text"),
        ({"labels": np.arange(80) * 0}, "has 1 classes"),
        ({"images": np.zeros((80, 784), np.uint8)}, r"shape \(80, 784\); it should be"),
        ({"images": np.zeros((80, 28, 28, 3), np.uint8)}, r"\(80, 28, 28, 3\).*side\), gray"),
        ({"images": np.full((80, 28, 28), 7.0)}, r"images\[0\]: values outside 0 to 1"),
        ({"images": np.full((80, 28, 28), np.nan)}, r"images\[0\]: values outside 0 to 1"),
        ({"images": np.ones((80, 28, 28), np.uint8)}, "no pixel of the file is above 1"),
        ({"images": np.full((80, 28, 28), 99)}, "all pixels of the training images .* the same"),
        ({"images": np.array(["a"] * 80)}, "has no images of numbers"),
        ({"images": np.array([{}] * 80, object)}, "is not a complete .npz file of plain arrays"),
        ({"split": np.array(["train"] * 80)}, "no image of .* is in the part test; each of"),
        ({"split": np.array(["train", "later"] * 40)}, r"split\[1\] is 'later'; it must be"),
        ({"split": np.arange(80)}, r"split\[0\] is '0'; it must be train, val or test"),
    ],
)
def test_wrong_archives(real, tmp_path, changes, message):
    arrays = {"images": real[0], "labels": real[1]} | changes
    np.savez(tmp_path / "a.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(InputError, match=message):
        set_up(tmp_path / "a.npz", tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.npz", "a.zip"])
def test_paths_that_are_neither(tmp_path, name):
    (tmp_path / "a.zip").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"a folder with one subfolder of .* images for each class, or"
    ):
        set_up(tmp_path / name, tmp_path)


def test_other_files_are_left_out_with_a_word(real, tmp_path, caplog):
    folder = save_folder(tmp_path / "folder", *real)
    (folder / "one" / "notes.txt").write_text("x")
    (folder / "one" / ".DS_Store").write_text("x")
    assert len(set_up(folder, tmp_path).images) == 2 * NUM
    assert re.search(r"1 files are left out, as .*notes\.txt is", caplog.text)


@pytest.mark.parametrize("side", [8, 33, 64])
def test_any_size(side):
    """Turns map the points to one another: as many of them on every quarter."""
    data = Images("nowhere")
    data.set_side(side)
    radius = data.grid.norm(dim=-1)
    assert radius.max() < side / 2 + 1
    grid = data.grid.double()
    turned = grid @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]]).double()
    assert torch.cdist(turned, grid).min(1).values.max() < 1e-4
    images = torch.full((3, side, side), 200, dtype=torch.uint8)
    images[:, side // 2] = 100
    data.mean, data.std = 0.0, 1.0
    cloud, _ = data.prepare_batch((images, torch.zeros(3)), augment=True)
    # no black corners come in where an image is turned
    assert cloud.feat.min() > 99 / 255


def test_from_training_to_prediction(real, configure, tmp_path, monkeypatch):
    """On real digits; the model needs neither the folder nor the cache, also as a model folder."""
    line = re.search(r"python train.py (dataset=images .*)", PAGE)
    folder = save_folder(tmp_path / "own", *real)
    command = line[1].replace("my_images", str(folder)).split()
    where = f"dataset.cache={tmp_path}/cache"
    record = run(configure(*command, where, "name=own", "lr=1e-2", *SMALL))
    assert record.data["classes"] == list(CLASSES)
    assert record.metrics["error"].unit == "%"
    trained = tmp_path / "runs" / "own" / "seed0"
    monkeypatch.chdir(tmp_path)  # where export looks for data/
    export(trained, tmp_path / "model")
    test = set_up(folder, tmp_path / "cache").indices["test"].tolist()
    shutil.rmtree(tmp_path / "cache")
    shutil.move(folder, tmp_path / "moved")
    files = sorted((tmp_path / "moved").glob("*/*.png"))
    (tmp_path / "in").mkdir()
    for i in test:
        shutil.copy(files[i], tmp_path / "in" / f"{i:03}-{files[i].parent.name}.png")
    for source in (trained, tmp_path / "model"):
        rows = list(csv.DictReader(io.StringIO(predict(source, tmp_path / "in")[0])))
        wrong = [row["name"].partition("-")[2] != row["class"] for row in rows]
        assert 100 * np.mean(wrong) == pytest.approx(record.metrics["error"].test, abs=1e-3)
        for row in rows:
            first, second = (float(row[f"probability of {name}"]) for name in CLASSES)
            assert first + second == pytest.approx(1)
            assert row["class"] == CLASSES[second > first]
    Image.new("L", (30, 30)).save(tmp_path / "in" / "a.png")
    assert "the model takes 28 x 28" in predict(trained, tmp_path / "in")[1][-1].error
    card = (tmp_path / "model" / "README.md").read_text()
    assert "least squares on the pixels" in card
    assert str(tmp_path) not in (tmp_path / "model" / "config.yaml").read_text()
    assert export_model(trained).module()(torch.zeros(3, 28, 28)).shape == (3, 2)


@pytest.mark.slow
def test_goes_on_after_an_interruption_and_refuses_other_images(real, configure, tmp_path):
    images, labels = real
    path, options = tmp_path / "a.npz", ("dataset=images", "name=own", "pool=mean", *SMALL)
    options += (f"dataset.path={path}", f"dataset.cache={tmp_path}/cache")
    np.savez(path, images=images, labels=labels)
    first = run(configure(*options))
    done = tmp_path / "runs" / "own" / "seed0" / "checkpoints" / "done"
    done.unlink()
    assert run(configure(*options)).metrics == first.metrics
    for changed in (
        {"images": 255 - images, "labels": labels},
        {"images": images[:, :26, :26], "labels": labels},
        {"images": images, "labels": np.char.upper(labels)},
    ):
        done.unlink()
        np.savez(path, **changed)
        with pytest.raises(InputError, match=r"the data are not those|other classes, or images of"):
            run(configure(*options))
        done.touch()


def test_features_of_a_run_on_images(real, configure, tmp_path):
    np.savez(tmp_path / "a.npz", images=real[0], labels=real[1])
    where = (f"dataset.path={tmp_path}/a.npz", f"dataset.cache={tmp_path}")
    run(configure("dataset=images", *where, "name=own", "pool=mean", *SMALL))
    first = tmp_path / "runs" / "own" / "seed0"
    head = run(
        configure(
            "dataset=image_features",
            f"dataset.run={first}",
            f"dataset.cache={tmp_path}",
            "name=head",
            *SMALL,
        )
    )
    assert head.data["features_of"]["run"] == "own/seed0"
    Image.fromarray(real[0][0]).save(tmp_path / "one.png")
    table, entries = predict(tmp_path / "runs" / "head" / "seed0", tmp_path / "one.png")
    assert not entries[0].error
    assert "probability of zero" in table


@pytest.mark.parametrize(
    "change",
    [
        {"side": 10**6},
        {"side": 28.0},
        {"classes": ["a"]},
        {"classes": "ab"},
        {"classes": ["a", 1]},
        {"mean": float("nan")},
        {"std": 0.0},
    ],
)
def test_damaged_descriptions_are_refused(change):
    state = {"side": 28, "classes": ["a", "b"], "mean": 0.2, "std": 0.3}
    data = Images("nowhere")
    data.load_state_dict(state)
    assert (data.side, data.classes, data.out_dim) == (28, ("a", "b"), 2)
    with pytest.raises(InputError, match="does not describe images"):
        Images("nowhere").load_state_dict(state | change)


def assert_parts(data, test: int) -> None:
    """So many test images, and validation images drawn from those of the training."""
    assert len(data.indices["test"]) == test
    assert len(data.indices["val"]) == round(0.1 * (len(data.images) - test))
    joined = torch.cat(list(data.indices.values()))
    assert torch.equal(joined.sort().values, torch.arange(len(data.images)))


@pytest.mark.parametrize("names", ["x_{} y_{}", "{}_images {}_labels", "X_{} y_{}"])
@pytest.mark.parametrize("channel", [False, True])
def test_arrays_of_keras_and_others(real, tmp_path, names, channel):
    images, labels = (a[..., None] if channel else a for a in real)
    arrays = {}
    for part, rows in (("train", slice(0, 60)), ("test", slice(60, 80))):
        x, y = names.format(part, part).split()
        arrays |= {x: images[rows], y: labels[rows]}
    np.savez(tmp_path / "a.npz", **arrays)
    data = set_up(tmp_path / "a.npz", tmp_path)
    assert_parts(data, 20)
    assert torch.equal(data.images, torch.from_numpy(real[0]))
    assert sorted(data.classes) == ["one", "zero"]


def test_folders_without_one_for_validation(real, tmp_path):
    save_folder(tmp_path / "folder" / "train", real[0][:60], real[1][:60])
    save_folder(tmp_path / "folder" / "test", real[0][60:], real[1][60:])
    assert_parts(set_up(tmp_path / "folder", tmp_path), 20)


def test_tables_of_pixels(real, tmp_path):
    header = ",".join(["label", *(f"pixel{i}" for i in range(784))])
    rows = [",".join([y, *map(str, x.ravel())]) for x, y in zip(*real, strict=True)]
    (tmp_path / "train.csv").write_text("\n".join([header, *rows]))
    data = set_up(tmp_path / "train.csv", tmp_path)
    assert torch.equal(data.images, torch.from_numpy(real[0]))
    (tmp_path / "bad.csv").write_text("label,a,b\none,1,2\n")
    with pytest.raises(InputError, match="has 3 columns; give one called label, and as many"):
        set_up(tmp_path / "bad.csv", tmp_path)


@pytest.mark.parametrize("ending", [".png", ""])
def test_images_beside_a_table_of_labels(real, tmp_path, ending):
    (folder := tmp_path / "flat" / "images").mkdir(parents=True)
    for i, image in enumerate(real[0]):
        Image.fromarray(image).save(folder / f"{i:03}.png")
    rows = "".join(f"{i:03}{ending},{label}\n" for i, label in enumerate(real[1]))
    (tmp_path / "flat" / "labels.csv").write_text("file,label\n" + rows)
    data = set_up(tmp_path / "flat", tmp_path)
    assert torch.equal(data.images, torch.from_numpy(real[0]))
    assert [data.classes[i] for i in data.labels.tolist()] == real[1].tolist()
    (tmp_path / "flat" / "labels.csv").write_text("file,label\nnone.png,one\n")
    with pytest.raises(InputError, match=r"names 'none.png', which is no image"):
        set_up(tmp_path / "flat", tmp_path)
