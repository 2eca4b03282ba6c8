"""Every command of README.md and docs/ runs, in small."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gigp.lab.prediction.models import find_model
from gigp.lab.training.run import run
from tests.conftest import ROOT, tiny

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"^python ([\w/]+\.py)(.*)$|`python ([\w/]+\.py)([^`]*)`", re.MULTILINE)
SETTING = re.compile(r"^\| ((?:`[\w.]+`(?:, )?)+) \|", re.MULTILINE)
WATER = "3\nwater energy={} gap={} charge=0 of={}\nO 0 0 0.12\nH 0 0.76 -0.47\nH 0 -0.7{} -0.47\n"
SMALL = ("backbone.width=8", "backbone.blocks=1", "orbits.center=centroid")


def commands(program: str) -> list[str]:
    """Arguments of a program wherever a page calls it, each once, without comments."""
    found = [
        (first or second, (a or b).partition("#")[0].partition(";")[0].strip())
        for page in PAGES
        for first, a, second, b in COMMAND.findall(page.read_text())
    ]
    return sorted({arguments for name, arguments in found if name == program})


def in_small(arguments: str, folder: Path) -> list[str]:
    """Overrides of a training: the first run of a sweep, with files that are at hand."""
    words = [w.replace("docs/examples", f"{ROOT}/docs/examples") for w in shlex.split(arguments)]
    words = [word for word in words if word != "-m" and not word.startswith(("hydra.", "launcher"))]
    words = [
        word if "[" in word or "path=" in word else word.partition(",")[0]
        for word in words
        if not word.startswith(("scale=", "logger=", "trainer.devices="))
    ]
    return [word.replace("=my_images", f"={folder}/my_images") for word in words]


TRAININGS = [a for a in commands("train.py") if a and "..." not in a and "--help" not in a]
TRAININGS = [
    a for a in TRAININGS if not a.startswith(("pool=fading", "group=Axial", "dataset=dipoles"))
]
# those that are one in small
TRAININGS = list({tuple(in_small(a, Path("FOLDER"))): a for a in TRAININGS}.values())
SMALLEST = tiny(epochs=1, train=20, val=10, test=10)


def test_commands_are_found():
    assert len(TRAININGS) >= 3
    assert len(commands("predict.py")) >= 2


@pytest.fixture
def my_images(tmp_path) -> Path:
    """A folder of two classes."""
    for label in ("cat", "dog"):
        (folder := tmp_path / "my_images" / label).mkdir(parents=True)
        for i in range(6):
            pixels = np.random.RandomState(i).randint(0, 255, (10, 10)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize("arguments", TRAININGS)
def test_trainings(configure, my_images, arguments):
    words = in_small(arguments, my_images)
    own = any(word.startswith("dataset.path=") for word in words)
    sizes = SMALLEST[:3] if own else SMALLEST
    small = [word for word in SMALL if "images" not in arguments or "orbits" not in word]
    record = run(configure(*words, *sizes, *small, "name=small"))
    assert record.epochs == 1


@pytest.mark.parametrize("arguments", [a for a in commands("predict.py") if a])
def test_predictions(tmp_path, monkeypatch, capsys, arguments):
    from gigp.lab.commands.predict import follow as main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "molecules.xyz").write_text(WATER.format(1, 2, "w", 6))
    model = str(find_model("qm9"))
    words = [word.replace("results/runs/NAME/seed0", model) for word in shlex.split(arguments)]
    words = [word.replace("results/models/MODEL", model) for word in words]
    assert main(words) == 0
    assert "Predicted 1 of 1." in capsys.readouterr().err


def documented_settings() -> list[str]:
    """Settings of the first table with that head in docs/own_data.md."""
    text = (ROOT / "docs" / "own_data.md").read_text()
    table = text.partition("| setting | meaning | default |")[2].partition("\n\n")[0]
    return re.findall(r"`([\w.]+)`", "\n".join(SETTING.findall(table)))


VALUES = {
    "target": "[energy,gap]",
    "dataset.unit": "{energy: eV, gap: eV}",
    "dataset.extensive": "{energy: true, gap: false}",
    "dataset.targets": "{folder}/table.csv",
    "dataset.split": "null",
    "dataset.group": "of",
    "dataset.inputs": "[charge]",
    "dataset.skip_broken": "true",
    "dataset.val_fraction": "0.2",
    "dataset.test_fraction": "0.2",
    "dataset.split_seed": "3",
    "dataset.reference": "none",
    "dataset.train_size": "4",
    "val_size": "1",
    "test_size": "1",
}


def test_settings_of_ones_own_data(configure, tmp_path):
    """All of the page together."""
    settings = documented_settings()
    assert set(settings) == set(VALUES)
    frames = [WATER.format(i, i * i, f"m{i // 2}", i % 10) for i in range(20)]
    text = "".join(frames).replace("water energy", "name=w{} energy")
    for i in range(20):
        text = text.replace("name=w{}", f"name=w{i}", 1)
    (path := tmp_path / "own.xyz").write_text(text)
    rows = "".join(f"w{i},{i},{i * i},m{i // 2}\n" for i in range(20))
    (tmp_path / "table.csv").write_text("id,energy,gap,of\n" + rows)
    overrides = [
        f"{name if '.' in name or name == 'target' else f'dataset.{name}'}={VALUES[name]}"
        for name in settings
    ]
    overrides = [word.replace("{folder}", str(tmp_path)) for word in overrides]
    record = run(
        configure(
            "dataset=molecules",
            f"dataset.path={path}",
            f"dataset.cache={tmp_path}",
            *overrides,
            *SMALLEST[:3],
            *SMALL,
            "name=own",
        )
    )
    assert {name: metric.unit for name, metric in record.metrics.items()} == {
        "energy": "eV",
        "gap": "eV",
    }
    assert record.metrics["energy"].kind == "extensive"
    assert record.data["split"] == "seeded draw 3 by of"
