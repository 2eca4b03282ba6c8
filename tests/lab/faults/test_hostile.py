"""Run folders and checkpoints from anyone: they execute, write, delete and contact nothing."""

import io
import os

import pytest
import torch

from gigp.errors import InputError
from gigp.lab.runs.checkpoints import load_backbone, load_checkpoint, save_checkpoint
from gigp.lab.training.load import load_trained
from gigp.lab.training.run import run
from tests.lab.faults.harness import left


@pytest.fixture
def unfinished(trained):
    """A run whose test has not been recorded, and its last checkpoint."""
    folder = left(trained)
    folder.done.unlink()
    return trained, folder, load_checkpoint(folder.last)


def first_moment(checkpoint) -> dict:
    """The optimizer's state of a parameter that is a matrix."""
    states = checkpoint["optimizer_states"][0]["state"].values()
    return next(state for state in states if state["exp_avg"].dim() == 2)


def weight_name(checkpoint) -> str:
    return next(name for name in checkpoint["state_dict"] if name.endswith("head.weight"))


def set_weight(checkpoint, change) -> None:
    name = weight_name(checkpoint)
    checkpoint["state_dict"][name] = change(checkpoint["state_dict"][name])


def set_moment(checkpoint, change) -> None:
    state = first_moment(checkpoint)
    state["exp_avg"] = change(state["exp_avg"])


def set_rows(checkpoint, rows) -> None:
    checkpoint["callbacks"]["History"]["rows"] = rows


HOSTILE = {
    # written by fused Adam beyond the end of the memory of the parameter
    "moments of another shape": lambda c: set_moment(c, lambda x: x[:1, :1].clone()),
    "moments of another type": lambda c: set_moment(c, lambda x: x.double()),
    "moments without numbers": lambda c: set_moment(c, lambda x: x * torch.nan),
    "no moments": lambda c: first_moment(c).pop("exp_avg_sq"),
    "a step that is text": lambda c: first_moment(c).update(step="1"),
    "steps of another shape": lambda c: first_moment(c).update(step=torch.ones(3)),
    "a parameter too many": lambda c: c["optimizer_states"][0]["state"].update(
        {10**9: first_moment(c)}
    ),
    "another optimizer": lambda c: c["optimizer_states"][0]["param_groups"][0].update(
        maximize=True
    ),
    "a rate that is text": lambda c: c["optimizer_states"][0]["param_groups"][0].update(lr="x"),
    "no optimizer": lambda c: c.update(optimizer_states=[]),
    "boolean weights": lambda c: set_weight(c, lambda w: w > 0),
    "integer weights": lambda c: set_weight(c, lambda w: w.int()),
    "complex weights": lambda c: set_weight(c, lambda w: w.to(torch.complex64)),
    "weights without numbers": lambda c: set_weight(c, lambda w: w * torch.inf),
    "weights of another shape": lambda c: set_weight(c, lambda w: w.repeat(2, 1)),
    "a weight too few": lambda c: c["state_dict"].pop(weight_name(c)),
    "no schedule": lambda c: c.update(lr_schedulers=[]),
    "a schedule with other attributes": lambda c: c["lr_schedulers"][0].update(step="x"),
    "a schedule of text": lambda c: c["lr_schedulers"][0].update(base_lrs=["x"]),
    "no loops": lambda c: c.pop("loops"),
    "loops of text": lambda c: c["loops"]["fit_loop"].update(epoch_progress="x"),
    "empty loops": lambda c: c.update(loops={"fit_loop": {}}),
    "loops at another epoch": lambda c: c["loops"]["fit_loop"]["epoch_progress"]["current"].update(
        processed=1
    ),
    "negative epochs": lambda c: c.update(epoch=-1),
    "huge counts": lambda c: c["loops"]["fit_loop"]["epoch_progress"]["total"].update(
        ready=10**400
    ),
    "no history": lambda c: c.pop("callbacks"),
    "a history of text": lambda c: set_rows(c, [{"epoch": 0, "x": "=cmd()"}, {"epoch": 1, "x": 1}]),
    "a history of other epochs": lambda c: set_rows(c, c["callbacks"]["History"]["rows"] * 2),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_checkpoint_that_does_not_fit_is_refused(unfinished, kind):
    cfg, folder, checkpoint = unfinished
    HOSTILE[kind](checkpoint)
    save_checkpoint(folder.last, checkpoint)
    with pytest.raises(InputError, match=r"last\.ckpt is damaged or not a checkpoint of this run"):
        run(cfg)


def test_paths_in_a_checkpoint_are_not_used(unfinished, tmp_path):
    """Lightning deletes and contacts what the state of its own callback names."""
    cfg, folder, checkpoint = unfinished
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").touch()
    state = dict.fromkeys(
        ("last_model_path", "kth_best_model_path", "best_model_path"), str(victim)
    )
    state |= {"best_k_models": {str(victim): torch.tensor(1.0)}, "best_model_score": None}
    checkpoint["callbacks"] |= {"ModelCheckpoint": state, "ModelCheckpoint{'monitor': 'x'}": state}
    checkpoint |= {"hyper_parameters": {"x": 1}, "pytorch-lightning_version": "0.0.1"}
    save_checkpoint(folder.last, checkpoint)
    run(cfg)
    assert (victim / "file").exists()


@pytest.mark.parametrize("name", ["checkpoints", "replaced", "metrics.csv", "config.yaml", ".lock"])
def test_links_in_a_run_folder_are_refused(unfinished, tmp_path, name):
    cfg, folder, _ = unfinished
    outside, path = tmp_path / "outside", folder.path / name
    if path.exists():
        path.rename(outside)
    else:
        outside.mkdir()
    path.symlink_to(outside)
    before = sorted(p.name for p in outside.rglob("*"))
    for overwrite in (False, True):
        cfg.overwrite = overwrite
        with pytest.raises(InputError, match="symbolic link"):
            run(cfg)
    assert sorted(p.name for p in outside.rglob("*")) == before


@pytest.mark.parametrize("kind", ["pipe", "folder", "earlier"])
def test_what_is_not_a_checkpoint_file_is_refused(unfinished, kind):
    _, folder, checkpoint = unfinished
    path = folder.last
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        torch.save(checkpoint, made := io.BytesIO())
        path.write_bytes(made.getvalue())
    with pytest.raises(InputError, match="damaged or not a checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("kind", [kind for kind in HOSTILE if "weight" in kind])
def test_weights_that_do_not_fit_are_not_loaded(unfinished, kind):
    _, folder, checkpoint = unfinished
    _, _, module = load_trained(folder.path)
    HOSTILE[kind](checkpoint)
    save_checkpoint(folder.best, checkpoint)
    with pytest.raises(InputError, match=r"does not fit its config\.yaml"):
        load_trained(folder.path)
    with pytest.raises(InputError, match=r"the head in .* does not fit this configuration"):
        load_backbone(module.model, folder.path)
