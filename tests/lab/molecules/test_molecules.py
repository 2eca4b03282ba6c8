"""Molecules of one's own: the same from every kind of file, and errors that name the molecule."""

import csv
import gzip
import io
import json
import os
import re
import shlex
import shutil
from copy import copy

import numpy as np
import pytest
import torch

from gigp.errors import InputError
from gigp.lab.molecules.atoms import SYMBOLS
from gigp.lab.molecules.baselines import trivial_errors
from gigp.lab.molecules.molecules import Molecules
from gigp.lab.molecules.readers.molecule import make_molecule
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
    subtracted = data.atom_values()[data.charges[i].long()].sum(0) + data.offset
    return (subtracted + data.values[i].double()).tolist()


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
        ("energy=1 gap=2", {"target": "enrgy"}, r"molecule 1.*no property 'enrgy'; .*energy, gap"),
        ("energy=high", {}, r"molecule 1.*energy is 'high', which is not one finite number"),
        ("energy=nan", {}, "molecule 1.*not one finite number"),
        ('energy="1 2 3"', {}, "molecule 1.*not one finite number"),
        ('energy=1 pbc="T T F"', {}, "molecule 1.*periodic"),
        ('energy=1 Lattice="9 0 0 0 9 0 0 0 9"', {}, "molecule 1.*periodic"),
        ("energy=1 fold=later", {"split": "fold"}, "molecule 1.*its fold is 'later'"),
        ("energy=1", {"split": "fold"}, "molecule 1.*its fold is missing"),
        ("energy=1 fold=train", {"split": "fold"}, "no molecule of .* has fold=test"),
        ("energy=1", {"target": "forces"}, "target=forces: forces and stresses are not trained on"),
        ("energy=1", {"group": "smiles"}, "it has no smiles, by which dataset.group=smiles"),
        ("energy=1", {"inputs": ["mass"]}, "dataset.inputs='mass' is unknown; choose one of"),
        ("-76.4", {"target": "gap"}, "Its comment is the number -76.4; target=energy takes it"),
    ],
)
def test_wrong_molecules(tmp_path, text, options, message):
    (path := tmp_path / "water.xyz").write_text(WATER.format(text) * 4)
    with pytest.raises(InputError, match=message):
        Molecules(str(path), cache=str(tmp_path), **options).setup()


def test_number_of_the_wrong_molecule(tmp_path):
    good, bad = WATER.format("energy=1"), WATER.format("energy=1").replace("O 0 0 0", "Q 0 0 0")
    (path := tmp_path / "water.xyz").write_text(good * 2 + bad + good + bad)
    with pytest.raises(InputError, match="2 of 5 molecules are wrong; dataset") as found:
        Molecules(str(path), cache=str(tmp_path)).setup()
    assert re.search(r"molecule 3: element Q.*\n.*molecule 5: element Q", str(found.value))
    path.write_text(good * 3)
    with pytest.raises(InputError, match="has 3 molecules, too few"):
        Molecules(str(path), cache=str(tmp_path)).setup()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,energy\na,1\nb,2\nc,3\n", r"molecule 4 \(d\): .*has no row for it"),
        ("name,energy\nx,1\n", "no row for any molecule: its first column names x, the molecules"),
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


def test_baselines_of_own_molecules_by_hand(twenty):
    """Fits of fewer numbers than there are training molecules, on whole properties."""
    found = twenty.description["baselines"]
    assert list(found) == ["mean", "counts", "moments"]  # 101 numbers of shells, 16 molecules
    train, test = twenty.indices["train"], twenty.indices["test"]
    truth = twenty.true_targets(torch.arange(20))
    mean = (truth[test] - truth[train].mean(0)).abs().mean(0)
    assert [*found["mean"].values()] == pytest.approx(mean.tolist())
    counts = (twenty.charges[..., None] == torch.tensor([1, 6, 7, 8])).sum(1).double()
    known = torch.cat([counts, torch.ones(20, 1).double()], 1)
    fit = torch.linalg.lstsq(known[train], truth[train]).solution
    expected = (known[test] @ fit - truth[test]).abs().mean(0)
    assert [*found["counts"].values()] == pytest.approx(expected.tolist(), rel=1e-3)


def test_baselines_where_labels_are_missing(twenty):
    """The known ones alone are fitted and tested; other targets have what they had."""
    some = copy(twenty)
    train, test = twenty.indices["train"], twenty.indices["test"]
    some.values, some.whole = twenty.values.clone(), twenty.whole.clone()
    for lacking in (train[:3], test[:1]):
        some.values[lacking, 1] = some.whole[lacking, 1] = torch.nan
    found, whole = trivial_errors(some), trivial_errors(twenty)
    fewer = copy(twenty)
    fewer.indices = twenty.indices | {"train": train[3:], "test": test[1:]}
    known = trivial_errors(fewer)
    for name in ("mean", "counts", "moments"):
        assert found[name]["energy"] == pytest.approx(whole[name]["energy"])
        assert found[name]["gap"] == pytest.approx(known[name]["gap"])


def test_the_page_from_training_to_prediction(configure, command, tmp_path, capsys):
    """The model predicts from the file what the test pass found, without the file it trained on."""
    shutil.copy(EXAMPLE, path := tmp_path / "own_molecules.xyz")
    command = [part for part in command if not part.startswith(("dataset.path", "scale"))]
    options = (f"dataset.path={path}", f"dataset.cache={tmp_path}/cache", "name=own")
    record = run(configure(*command, *options, *SMALL))
    assert record.metrics["energy"].unit == "eV"
    shown = capsys.readouterr().out
    assert all(
        head in shown for head in ("elements", "+ r^2", "Errors without a network: the mean")
    )
    assert f"{record.data['baselines']['counts']['energy']:.4g}" in shown
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


def frames(*comments: str) -> str:
    """Molecules of water, no two alike."""
    return "".join(
        WATER.format(text).replace("0.76", f"0.7{i:02}") for i, text in enumerate(comments)
    )


def test_files_that_are_called_as_parts(tmp_path):
    for name, num in (("train.xyz", 3), ("valid.xyz", 2), ("test.xyz.gz", 1)):
        text = frames(*[f"energy={i}" for i in range(num)]).encode()
        packed = gzip.compress(text) if name.endswith("gz") else text
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_bytes(packed)
    data = Molecules(str(tmp_path / "data"), cache=str(tmp_path))
    data.setup()
    assert {part: len(i) for part, i in data.indices.items()} == {"train": 3, "val": 2, "test": 1}
    assert data.description["split"] == "names of files"
    (tmp_path / "data" / "valid.xyz").unlink()  # drawn from the training molecules
    data = Molecules(str(tmp_path / "data"), cache=str(tmp_path))
    data.setup()
    assert {part: len(i) for part, i in data.indices.items()} == {"train": 2, "val": 1, "test": 1}


def test_small_differences_of_large_energies(tmp_path):
    """As of molecular dynamics with all electrons: single precision knows 1/32 eV there."""
    energies = [-280_000 - 0.001 * i for i in range(40)]
    (path := tmp_path / "md.xyz").write_text(frames(*[f"energy={e:.6f}" for e in energies]))
    data = Molecules(str(path), cache=str(tmp_path))
    data.setup()
    assert len(data.values.unique()) == 40
    found = [whole(data, i)[0] for i in range(40)]
    np.testing.assert_allclose(found, energies, rtol=0, atol=1e-8)
    other = Molecules(str(path))
    other.load_state_dict(data.state_dict())
    assert torch.equal(other.offset, data.offset)


def test_charges_are_inputs_or_may_not_vary(tmp_path):
    comments = [f"energy={i} charge={i % 2}" for i in range(12)]
    (path := tmp_path / "ions.xyz").write_text(frames(*comments))
    with pytest.raises(InputError, match=r"have the charges 0, 1, .* dataset.inputs=\[charge\]"):
        Molecules(str(path), cache=str(tmp_path)).setup()
    data = Molecules(str(path), cache=str(tmp_path), inputs=["charge"])
    data.setup()
    cloud, _ = data.get_batch(torch.tensor([0, 1]))
    assert cloud.feat[..., -1].tolist() == [[0.0] * 3, [1.0] * 3]
    assert cloud.feat.shape[-1] == data.in_channels == 7
    other = Molecules(str(path), inputs=["charge"])
    other.load_state_dict(data.state_dict())
    assert other.chemistry.charges == (0, 1)
    water = [[0, 0, 0], [0, 0.76, 0.59], [0, -0.76, 0.59]]
    made = other.make_clouds([make_molecule("OHH", water, {"charge": 1})])
    assert made.feat[..., -1].tolist() == [[1.0] * 3]


def test_labels_that_some_molecules_lack(configure, tmp_path):
    """They count neither in the loss nor in the metrics, and the record counts them."""
    comments = [f"a={i}" if i % 2 else f"a={i} b={i * i} charge=0" for i in range(24)]
    (path := tmp_path / "two.xyz").write_text(frames(*comments))
    options = (f"dataset.path={path}", f"dataset.cache={tmp_path}", "name=two", "target=[a,b]")
    units = ("dataset.unit={a: eV, b: '[/mol]'}", "dataset.extensive={b: true}")
    small = (*SMALL[:-1], "dataset.val_fraction=0.2", "dataset.test_fraction=0.2")
    record = run(configure("dataset=molecules", *options, *units, *small))
    assert record.data["missing"] == {"a": 0, "b": 12}
    assert {name: (m.unit, m.kind) for name, m in record.metrics.items()} == {
        "a": ("eV", "intensive"),
        "b": ("[/mol]", "extensive"),
    }
    table = (tmp_path / "runs" / "two" / "seed0" / "test_predictions.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(table)))
    errors = [
        abs(float(row["b truth [[/mol]]"]) - float(row["b prediction [[/mol]]"]))
        for row in rows
        if row["b truth [[/mol]]"]
    ]
    assert 0 < len(errors) < len(rows) == 5
    assert np.mean(errors) == pytest.approx(record.metrics["b"].test, rel=1e-4)
    assert {row["part"] for row in rows} == {"test"}


def test_broken_molecules_are_left_out_and_listed(tmp_path):
    comments = [f"energy={i}" if i % 3 else "energy=none" for i in range(70)]
    (path := tmp_path / "water.xyz").write_text(frames(*comments))
    with pytest.raises(InputError, match="24 of 70 molecules are wrong") as found:
        Molecules(str(path), cache=str(tmp_path)).setup()
    assert str(found.value).count("\n") == 21
    assert str(found.value).endswith("and 4 more")
    data = Molecules(str(path), cache=str(tmp_path), skip_broken=True)
    data.setup()
    (listed,) = tmp_path.glob("*-skipped.txt")
    assert len(listed.read_text().splitlines()) == data.description["skipped"] == 24
    assert len(data.mask) == 46


def test_groups_stay_in_one_part(tmp_path):
    comments = [f"energy={i} of=molecule{i // 4}" for i in range(48)]
    (path := tmp_path / "conformers.xyz").write_text(frames(*comments))
    data = Molecules(str(path), cache=str(tmp_path), group="of")
    data.setup()
    groups = [set((indices // 4).tolist()) for indices in data.indices.values()]
    assert [len(group) for group in groups] == [10, 1, 1]
    assert len(set.union(*groups)) == 12
    assert data.description["split"] == "seeded draw 0 by of"


@pytest.mark.parametrize("where", ["beside", "within"])
def test_molecules_named_by_their_files(tmp_path, where):
    """And an index that pandas wrote; the table may lie among the molecules."""
    (folder := tmp_path / "folder").mkdir()
    for i in range(6):
        (folder / f"mol_{i}.xyz").write_text(frames("generated by a program"))
    table = (folder if where == "within" else tmp_path) / "table.csv"
    table.write_text(",id,gap\n" + "".join(f"{i},mol_{i},{i}\n" for i in range(6)))
    data = Molecules(str(folder), target="gap", targets=str(table), cache=str(tmp_path))
    data.setup()
    assert data.true_targets(torch.arange(6))[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert data.names == [f"mol_{i}" for i in range(6)]


def test_a_comment_that_is_one_number_is_the_energy(tmp_path):
    (path := tmp_path / "water.xyz").write_text(frames("-1.5", "-2.5", "-3.5", "-4.5"))
    data = Molecules(str(path), cache=str(tmp_path))
    data.setup()
    assert data.true_targets(torch.arange(4))[:, 0].tolist() == [-1.5, -2.5, -3.5, -4.5]
