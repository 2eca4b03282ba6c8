"""Paths on the command line are taken as they are."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from gigp.lab.config.paths import PATH_KEYS, below_home, expand_home, quote_paths


def read(argument: str, multirun: bool = False) -> object:
    """What Hydra takes the value of a quoted argument for."""
    (quoted,) = quote_paths([argument], multirun)
    return OverridesParser.create().parse_override(quoted).value()


@pytest.mark.parametrize(
    "path",
    [
        "results/runs/qm9_homo_T3_gigp_small_lr=0.1_experiment=qm9_pools/seed0",
        "my runs/a b",
        " leading and trailing ",
        "run~1",
        "a#b",
        "a(1)/[x]/{y}",
        "it's",
        'a "b" c',
        "back\\slash\\",
        "odd\\'one",
        "2024",
        "1e5",
        "a,b",
        "ä/日本",
        "true",
        "-1/x",
        "./x",
        "a:b;c&d|e*f?g!h%i@j",
    ],
)
@pytest.mark.parametrize("key", ["init_from", "+dataset.run"])
def test_any_path(key, path):
    assert read(f"{key}={path}") == path


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A home folder and another folder to work in."""
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "my home"))
    monkeypatch.chdir(tmp_path / "work")
    return str(tmp_path / "my home")


def test_home_folder(home):
    """bash replaces ~ after a =, zsh, fish and the shell of make do not."""
    assert read("results_dir=~/runs") == f"{home}/runs"
    assert read("+dataset.run=~") == home
    (one,) = quote_paths(["dataset.root=~/a,~/b"], multirun=True)
    assert one == f"dataset.root='{home}/a','{home}/b'"
    assert below_home("a/~/b") == "a/~/b"
    Path("~").mkdir()  # somebody has such a folder: as it is given
    assert read("results_dir=~") == "~"
    assert read("results_dir=~/runs") == f"{home}/runs"


def test_home_folder_in_a_configuration(home, configure):
    cfg = configure("dataset=features", "dataset.run=x")
    cfg.results_dir, cfg.dataset.root, cfg.dataset.run = "~/runs", "~/data", "~/runs/x/seed0"
    cfg.dataset.cache = "data"
    expand_home(cfg)
    assert cfg.results_dir == f"{home}/runs"
    assert cfg.dataset.root == f"{home}/data"
    assert cfg.init_from == cfg.dataset.run == f"{home}/runs/x/seed0"
    assert cfg.dataset.cache == "data"


def test_what_is_already_grammar_stays():
    for argument in (
        "init_from=null",
        "init_from='a=b'",
        'init_from="a b"',
        "dataset.run=${results_dir}/a=b/seed${seed}",
        "dataset.run=glob(*)",
        "results_dir=runs",
        "results_dir=",
        "lr=a=b",
        "--multirun",
        "pool=gigp,mean",
    ):
        assert quote_paths([argument]) == [argument]


def test_a_sweep_over_paths():
    line = "dataset.run=runs/a=1/seed0,runs/a=2/seed0"
    (quoted,) = quote_paths([line], multirun=True)
    sweep = OverridesParser.create().parse_override(quoted)
    assert sweep.is_choice_sweep()
    assert [str(v) for v in sweep.sweep_string_iterator()] == [
        "'runs/a=1/seed0'",
        "'runs/a=2/seed0'",
    ]
    assert read(line) == "runs/a=1/seed0,runs/a=2/seed0"


def test_keys_are_settings(configure):
    from omegaconf import OmegaConf

    known = [configure(), configure("dataset=features", "dataset.run=x")]
    for key in PATH_KEYS - {"dataset.path"}:
        assert any(OmegaConf.select(cfg, key, default=0) != 0 for cfg in known), key
