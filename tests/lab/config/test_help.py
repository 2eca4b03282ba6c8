"""`--help` is made from configs, so a file that a user adds there explains itself."""

from shutil import copytree

from gigp.lab.config import help as help_module
from gigp.lab.config.help import commented_settings, first_comment, help_text
from tests.conftest import ROOT

CONFIGS = ROOT / "configs"


def test_names_every_choice_and_setting():
    out = help_text()
    for path in CONFIGS.glob("*/*.yaml"):
        assert f"\n    {path.stem}" in out, path
    settings = commented_settings(CONFIGS / "config.yaml")
    assert {"seed", "target", "lr", "init_from", "overwrite"} <= {key for key, _, _ in settings}
    assert all(f"\n    {key}={value} " in out for key, value, _ in settings)
    assert max(map(len, out.splitlines())) <= 100


def test_a_new_file_is_explained_by_its_first_comment(tmp_path, monkeypatch):
    configs = copytree(CONFIGS, tmp_path / "configs")
    text = "# @package _global_\n# The pool of\n# a user.\n# More.\n_target_: mine.Pool\n"
    (configs / "pool" / "mine.yaml").write_text(text)
    assert first_comment(configs / "pool" / "mine.yaml") == "The pool of a user."
    monkeypatch.setattr(help_module, "CONFIGS", configs)
    assert "\n    mine                   The pool of a user.\n" in help_text()
