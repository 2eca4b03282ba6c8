"""Molecules of one's own: the same from every kind of file, and errors that name the molecule."""

import csv
import io
import json
import os
import re
import shlex
import shutil

import numpy as np
import pytest
import torch

from gigp.errors import InputError
from gigp.lab.molecules.atoms import SYMBOLS
from gigp.lab.molecules.molecules import Molecules
from gigp.lab.prediction import predict
from gigp.lab.training.load import load_trained
from gigp.lab.training.run import run
from tests.conftest import ROOT

EXAMPLE = ROOT / "docs" / "examples" / "own_molecules.xyz"
PAGE = (ROOT / "docs" / "own_data.md").read_text()
SMALL = ("scale=debug", "trainer.max_epochs=2", "trainer.accelerator=cpu", "dataset.unit=eV")
WATER = "3\n{}\nO 0 0 0\nH 0 0.76 0.59\nH 0 -0.76 0.59\n"


@pytest.fixture(scope="module")
def twenty(tmp_path_factory):
    """The molecules of the page."""
    cache = tmp_path_factory.mktemp("cache")
    data = Molecules(str(EXAMPLE), target=["energy", "gap"], unit="eV", cache=str(cache))
    data.setup()
    return data


def names_of(text: str) -> list[str]:
    return re.findall(r"name=(\w+)", text)


def atoms_of(data, i):
    num = int(data.mask[i].sum())
    symbols = [SYMBOLS[charge] for charge in data.charges[i, :num].tolist()]
    return symbols, data.positions[i, :num].tolist()


def whole(data, i):
    """Targets before anything was subtracted."""
    return (data.atom_values()[data.charges[i].long()].sum(0) + data.values[i].double()).tolist()


def as_sdf(data, names) -> str:
    records = []
    for i, name in enumerate(names):
        symbols, positions = atoms_of(data, i)
        lines = [
            name,
            f"{'  test':20}3D",
            "",
            f"{len(symbols):3}  0  0  0  0  0  0  0  0  0999 V2000",
        ]
        for symbol, (x, y, z) in zip(symbols, positions, strict=True):
            lines.append(f"{x:10.4f}{y:10.4f}{z:10.4f} {symbol:3} 0  0")
        energy, gap = whole(data, i)
        lines += ["M  END", "> <energy>", f"{energy:.6f}", "", "> <gap>", f"{gap:.6f}", "", "$$$$"]
        records.append("\n".join(lines))
    return "\n".join(records) + "\n"


def as_tables(data, names) -> tuple[str, str]:
    positions, targets = ["molecule,element,x,y,z"], ["name;energy;gap"]
    for i, name in enumerate(names):
        symbols, xyz = atoms_of(data, i)
        positions += [
            f"{name},{s},{x:.8f},{y:.8f},{z:.8f}" for s, (x, y, z) in zip(symbols, xyz, strict=True)
        ]
        targets.append(f"{name};{whole(data, i)[0]:.6f};{whole(data, i)[1]:.6f}")
    return "\n".join(positions), "\n".join(reversed(targets[1:])).join([targets[0] + "\n", "\n"])


def test_example_is_real(twenty, qm9):
    """The first twenty molecules of QM9."""
    assert len(twenty.mask) == 20
    num = twenty.mask.shape[1]
    assert torch.equal(twenty.charges.long(), qm9.charges[:20, :num].long())
    torch.testing.assert_close(twenty.positions, qm9.positions[:20, :num], atol=1e-7, rtol=0)
    energies = [whole(twenty, i)[0] for i in range(20)]
    column = [target.name for target in qm9.targets].index("U0")
    np.testing.assert_allclose(energies, qm9._arrays()["targets"][:20, column], atol=1e-5)


@pytest.mark.parametrize("kind", ["sdf", "csv", "folder"])
def test_every_kind_of_file_gives_the_same(twenty, tmp_path, kind):
    names, options = names_of(EXAMPLE.read_text()), {}
    if kind == "sdf":
        (path := tmp_path / "twenty.sdf").write_text(as_sdf(twenty, names))
    elif kind == "csv":
        positions, targets = as_tables(twenty, names)
        (path := tmp_path / "twenty.csv").write_text(positions)
        (tmp_path / "targets.txt").write_text(targets)
        options["targets"] = str(tmp_path / "targets.txt")
    else:
        (path := tmp_path / "folder").mkdir()
        frames = re.split(r"(?m)^(?=\d+$)", EXAMPLE.read_text())[1:]
        for i, frame in enumerate(frames):
            (path / f"{i:02}.extxyz").write_text(frame)
    data = Molecules(str(path), target=["energy", "gap"], cache=str(tmp_path), **options)
    data.setup()
    assert torch.equal(data.charges, twenty.charges)
    torch.testing.assert_close(data.positions, twenty.positions, atol=1e-4, rtol=0)
    torch.testing.assert_close(data.values, twenty.values, atol=1e-4, rtol=0)
    assert all(torch.equal(data.indices[part], twenty.indices[part]) for part in data.indices)
    again = Molecules(str(path), target=["energy", "gap"], cache=str(tmp_path), **options)
    again.setup()  # from the cache
    assert torch.equal(again.values, data.values)
    assert again.description == data.description


def test_features_follow_the_elements_of_the_file(tmp_path):
    frames = "2\nenergy=1\nNa 0 0 0\nCl 0 0 2.4\n" * 2 + "2\nenergy=2\nH 0 0 0\nCl 0 0 1.3\n" * 2
    (path := tmp_path / "salts.xyz").write_text(frames)
    data = Molecules(str(path), cache=str(tmp_path))
    data.setup()
    assert data.description["elements"] == ["H", "Na", "Cl"]
    assert data.in_channels == 9
    cloud, _ = data.get_batch(torch.tensor([0]))
    expected = [[0, 0, 0, 1, 11 / 17, (11 / 17) ** 2, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 1, 1]]
    torch.testing.assert_close(cloud.feat[0], torch.tensor(expected))
    torch.testing.assert_close(cloud.mass[0], torch.tensor([22.990, 35.450]))


def test_split_that_the_file_names(tmp_path):
    words = ["train", "Validation", "test", "training", "test"]
    frames = "".join(WATER.format(f"energy={i} fold={word}") for i, word in enumerate(words))
    (path := tmp_path / "water.xyz").write_text(frames)
    data = Molecules(str(path), split="fold", cache=str(tmp_path))
    data.setup()
    assert {part: i.tolist() for part, i in data.indices.items()} == {
        "train": [0, 3],
        "val": [1],
        "test": [2, 4],
    }
    assert data.description["split"] == "fold"


def test_seed_of_the_split(twenty, tmp_path):
    other = Molecules(str(EXAMPLE), split_seed=1, cache=str(tmp_path))
    other.setup()
    assert other.description["split_hash"] != twenty.description["split_hash"]
    parts = torch.cat(list(other.indices.values()))
    assert torch.equal(parts.sort().values, torch.arange(20))
    assert [len(indices) for indices in other.indices.values()] == [16, 2, 2]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("energy=1 gap=2", {"target": "enrgy"}, r"molecule 1 .*no property 'enrgy'; .*energy, gap"),
        ("energy=high", {}, r"molecule 1 .*energy is 'high', which is not one finite number"),
        ("energy=nan", {}, "molecule 1 .*not one finite number"),
        ('energy="1 2 3"', {}, "molecule 1 .*not one finite number"),
        ('energy=1 pbc="T T F"', {}, "molecule 1 .*periodic"),
        ('energy=1 Lattice="9 0 0 0 9 0 0 0 9"', {}, "molecule 1 .*periodic"),
        ("energy=1 fold=later", {"split": "fold"}, "molecule 1 .*its fold is 'later'"),
        ("energy=1", {"split": "fold"}, "molecule 1 .*its fold is missing"),
        ("energy=1 fold=train", {"split": "fold"}, "no molecule of .* has fold=val"),
    ],
)
def test_wrong_molecules(tmp_path, text, options, message):
    (path := tmp_path / "water.xyz").write_text(WATER.format(text) * 4)
    with pytest.raises(InputError, match=message):
        Molecules(str(path), cache=str(tmp_path), **options).setup()


def test_number_of_the_wrong_molecule(tmp_path):
    good, bad = WATER.format("energy=1"), WATER.format("energy=1").replace("O 0 0 0", "Q 0 0 0")
    (path := tmp_path / "water.xyz").write_text(good * 2 + bad + good + bad)
    with pytest.raises(InputError, match=r"water.xyz, molecule 3 .*element Q.* 1 more are wrong"):
        Molecules(str(path), cache=str(tmp_path)).setup()
    path.write_text(good * 3)
    with pytest.raises(InputError, match="has 3 molecules, too few"):
        Molecules(str(path), cache=str(tmp_path)).setup()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,energy\na,1\nb,2\nc,3\n", r"molecule 4 \(d\): .*has no row for it"),
        ("name,energy\na,1\na,2\n", "row 3: 'a' has a row already"),
        ("name,energy\na,1\nb,\nc,3\nd,4\n", r"molecule 2 \(b\): energy is ''"),
        ("name,mass\na,1\nb,2\nc,3\nd,4\n", "no property 'energy'; its properties are name, mass"),
    ],
)
def test_wrong_tables(tmp_path, table, message):
    (path := tmp_path / "water.xyz").write_text("".join(map(WATER.format, "abcd")))
    (tmp_path / "energies.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        Molecules(
            str(path), targets=str(tmp_path / "energies.csv"), cache=str(tmp_path / "c")
        ).setup()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": ["gap", "gap"]}, "one property or several different ones"),
        ({"target": "loss"}, "none may be called loss"),
        ({"unit": {"gap": "eV"}}, "dataset.unit names gap; targets are energy"),
        ({"reference": "atoms"}, "only QM9 comes with values of free atoms"),
        ({"val_fraction": 0.6, "test_fraction": 0.6}, "together less than 1"),
        ({"path": "nowhere.xyz"}, "there is no .*nowhere.xyz"),
    ],
)
def test_wrong_settings(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        Molecules(**{"path": str(EXAMPLE), "cache": str(tmp_path)} | options).setup()


def test_pipes_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "water.xyz")
    with pytest.raises(InputError, match="regular file"):
        Molecules(str(tmp_path / "water.xyz"), cache=str(tmp_path)).setup()


@pytest.fixture(scope="module")
def command():
    """Arguments of the training command on the page."""
    line = re.search(r"python train.py (dataset=molecules .*)", PAGE)
    return [part.replace("docs/", f"{ROOT}/docs/") for part in shlex.split(line[1])]


def test_the_page_from_training_to_prediction(configure, command, tmp_path):
    """The model predicts from the file what the test pass found, without the file it trained on."""
    shutil.copy(EXAMPLE, path := tmp_path / "own_molecules.xyz")
    command = [part for part in command if not part.startswith(("dataset.path", "scale"))]
    options = (f"dataset.path={path}", f"dataset.cache={tmp_path}/cache", "name=own")
    record = run(configure(*command, *options, *SMALL))
    assert record.metrics["energy"].unit == "eV"
    folder = tmp_path / "runs" / "own" / "seed0"
    _, data, _ = load_trained(folder)
    path.rename(tmp_path / "moved.xyz")
    shutil.rmtree(tmp_path / "cache")
    rows = list(csv.DictReader(io.StringIO(predict(folder, tmp_path / "moved.xyz")[0])))
    errors = [
        abs(float(rows[i]["energy [eV]"]) - whole(data, i)[0])
        for i in data.indices["test"].tolist()
    ]
    assert np.mean(errors) == pytest.approx(record.metrics["energy"].test, rel=1e-3)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["data"]["elements"] == ["H", "C", "N", "O"]
    (tmp_path / "salt.xyz").write_text("2\nsalt\nNa 0 0 0\nCl 0 0 2.4\n")
    error = predict(folder, tmp_path / "salt.xyz")[1][0].error
    assert "element Na, Cl is unknown to models of own_molecules.xyz" in error


def test_goes_on_after_an_interruption_and_refuses_other_molecules(configure, tmp_path):
    shutil.copy(EXAMPLE, path := tmp_path / "own_molecules.xyz")
    options = (f"dataset.path={path}", f"dataset.cache={tmp_path}/cache", "name=own", "pool=mean")
    run(configure("dataset=molecules", *options, *SMALL))
    (tmp_path / "runs" / "own" / "seed0" / "summary.json").unlink()
    path.write_text(EXAMPLE.read_text().replace("energy=-1101", "energy=-1102"))
    with pytest.raises(InputError, match="the data are not those"):
        run(configure("dataset=molecules", *options, *SMALL))


def test_invariant_networks_take_any_elements(configure, tmp_path):
    frames = "".join(f"2\nenergy={i}\nH 0 0 0\nBr 0 0 {1.4 + i / 50}\n" for i in range(12))
    (path := tmp_path / "acid.xyz").write_text(frames)
    options = (f"dataset.path={path}", f"dataset.cache={tmp_path}", "backbone=schnet")
    record = run(configure("dataset=molecules", *options, *SMALL))
    assert record.data["elements"] == ["H", "Br"]


def test_elements_of_a_damaged_checkpoint_are_refused(twenty):
    for elements in ([6, 1], [], [0, 1], [1, 200], "H", [1.5]):
        data = Molecules(str(EXAMPLE), target=["energy", "gap"])
        with pytest.raises(InputError, match="not ascending nuclear charges"):
            data.load_state_dict(twenty.state_dict() | {"elements": elements})
