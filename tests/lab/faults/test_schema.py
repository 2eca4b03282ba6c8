"""Configurations and records that hold what no run writes end in one sentence."""

import json

import pytest
import yaml

from gigp.errors import InputError
from gigp.lab.config.instantiate import load_config
from gigp.lab.prediction.models import MODELS
from gigp.lab.runs.console import print_record
from gigp.lab.runs.folder import RunFolder
from gigp.lab.runs.record import parse_record
from gigp.lab.training.load import load_trained
from tests.lab.faults.harness import left
from tests.records import example_record

SETTINGS = [  # section, name and value
    ("lr", "fast"),
    ("lr", 0),
    ("lr", 10**400),
    ("lr", True),
    ("seed", -1),
    ("seed", "0"),
    ("pool_on", "points"),
    ("pool_inputs", 1),
    ("choices", {"pool": 3}),
    ("choices", None),
    ("pool.orbits", "many"),
    ("pool.orbits", 1.5),
    ("pool.orbits", None),
    ("pool.normalize", "yes"),
    ("pool.group", 3),
    ("pool.shells", 3),
    ("pool._target_", "gigp.groups.SO3"),
    ("pool._target_", None),
    ("group._target_", "gigp.pools.MeanPool"),
    ("group.cutoff", [1]),
    ("backbone._target_", "gigp.lab.molecules.qm9.QM9"),
    ("backbone.width", "256"),
    ("backbone.width", True),
    ("dataset._target_", "gigp.groups.E3"),
    ("dataset.target", {"a": 1}),
    ("dataset.batch_size", "75"),
    ("dataset", []),
]


@pytest.mark.parametrize(("key", "value"), SETTINGS)
def test_settings(tmp_path, key, value):
    cfg = yaml.safe_load((MODELS / "qm9" / "config.yaml").read_text())
    section, _, name = key.partition(".")
    if name:
        cfg[section][name] = value
    else:
        cfg[section] = value
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(cfg))
    with pytest.raises(InputError, match=r"config\.yaml") as error:
        load_config(tmp_path)
    assert "\n" not in str(error.value)


def test_model_that_cannot_be_built(trained):
    """Each setting may be, but not all of them together."""
    folder = left(trained)
    cfg = yaml.safe_load(folder.config.read_text())
    cfg["group"] = {"_target_": "gigp.groups.SO2"}
    folder.config.write_text(yaml.safe_dump(cfg))
    with pytest.raises(InputError, match=r"config\.yaml"):
        load_trained(folder.path)


RECORDS = [
    ("data", {}),
    ("data", {"dataset": "qm9", "sizes": {}}),
    ("data", {"dataset": "qm9", "sizes": {"train": "many"}}),
    ("choices", {}),
    ("seed", 10**400),
    ("seed", -1),
    ("metrics", {"homo": 3}),
    ("curve", {"epoch": ["x"] * 50_000}),
    ("schema_version", None),
    ("earlier", [{}]),
]


@pytest.mark.timeout(10)
@pytest.mark.parametrize(("key", "value"), RECORDS)
def test_records(key, value):
    fields = json.loads(example_record().to_json()) | {key: value}
    with pytest.raises(InputError, match="it is damaged") as error:
        parse_record(json.dumps(fields), "it")
    assert len(str(error.value)) < 300


@pytest.mark.timeout(10)
@pytest.mark.parametrize("text", ["[" * 10**5, '{"data":[' + "{}," * 10**5 + "1]}", "9" * 5000])
def test_records_of_hostile_json(text):
    with pytest.raises(InputError, match="it is damaged"):
        parse_record(text, "it")


def test_record_with_little_is_printed(tmp_path, capsys):
    record = example_record()
    print_record(record, RunFolder(tmp_path, "it", 0))
    printed = capsys.readouterr().out
    assert record.name in printed
    assert all(name in printed for name in record.metrics)
