"""When wandb goes online: with an account only, and never against the user's word."""

import sys

import pytest

from gigp.errors import InputError
from gigp.training.loggers import is_online
from gigp.training.run import run
from tests.conftest import tiny


@pytest.mark.parametrize(
    ("env", "netrc", "online"),
    [
        ({}, "", False),
        ({"WANDB_API_KEY": "x" * 40}, "", True),
        ({"WANDB_API_KEY": "x" * 40, "WANDB_MODE": "offline"}, "", False),
        ({}, "machine api.wandb.ai login user password secret\n", True),
        ({}, "machine example.org login user password secret\n", False),
        ({"WANDB_MODE": "online"}, "", True),
    ],
)
def test_is_online(env, netrc, online, monkeypatch, tmp_path):
    for key in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text(netrc)
    (tmp_path / ".netrc").chmod(0o600)
    for key, value in env.items():
        monkeypatch.setenv(key, value)
    assert is_online() is online


def test_missing_wandb_is_told(configure, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    options = tiny(epochs=1, train=60, val=20, test=20)
    with pytest.raises(InputError, match=r"needs the package wandb; .* or use logger=csv"):
        run(configure("dataset=orbits", *options, "logger=wandb"))
