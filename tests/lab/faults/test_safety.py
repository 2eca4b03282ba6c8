"""Nothing that is read can execute code, and no secret is written down."""

import ast
import hashlib
import io
import os
import pickle
import secrets
from pathlib import Path

import numpy as np
import pytest

from gigp.errors import InputError
from gigp.lab.data.cache import CacheError, load_or_build, read
from gigp.lab.images.readers import read_npy
from gigp.lab.training.run import run
from tests.conftest import ROOT, tiny
from tests.lab.faults.harness import left

OURS = [*ROOT.glob("*.py"), *ROOT.glob("gigp/**/*.py"), *ROOT.glob("scripts/**/*.py")]
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "system",
    "popen",
    "extractall",
    "unpack_archive",
    "read_pickle",
    "to_pickle",
    "unsafe_load",
    "full_load",
    "load_all",
    "from_pretrained",
}
NEEDED = {("torch", "load"): ("weights_only", True), ("np", "load"): ("allow_pickle", False)}


def offences(code: str) -> list[str]:
    """Places in code that could execute its input, as "line: reason"."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
            )
            found += [
                f"{node.lineno}: imports {name}" for name in names if name.split(".")[0] in MODULES
            ]
        if not isinstance(node, ast.Call):
            continue
        function, owner = node.func, None
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            owner = function.value.id
        given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
        # model.eval() and torch.compile(model) are methods of other things
        if name in CALLS and (isinstance(function, ast.Name) or name not in ("eval", "compile")):
            found.append(f"{node.lineno}: {name}()")
        if owner in MODULES or name == "Unpickler":
            found.append(f"{node.lineno}: {owner}.{name}()")
        if (owner, name) == ("yaml", "load"):
            found.append(f"{node.lineno}: yaml.load")
        if given.get("shell") or given.get("trust_remote_code") or given.get("allow_pickle"):
            found.append(f"{node.lineno}: a shell, foreign code or a pickle")
        key, value = NEEDED.get((owner, name), (None, None))
        if key and given.get(key) is not value:
            found.append(f"{node.lineno}: {owner}.{name} without {key}={value}")
        if ("ckpt_path" in given or given.get("weights_only") is False) and given.get(
            "weights_only"
        ) is not True:
            found.append(f"{node.lineno}: {name} without weights_only=True")
    return found


def test_our_code_executes_nothing_that_it_reads():
    assert len(OURS) > 50
    found = {str(path.relative_to(ROOT)): offences(path.read_text()) for path in OURS}
    # its unpickler builds tensors and dictionaries alone; test_lieconv_checkpoint.py attacks it
    (restricted,) = found.pop("gigp/lab/prediction/lieconv_checkpoint.py")
    assert restricted.endswith("imports pickle")
    assert {path: offence for path, offence in found.items() if offence} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "eval('1')",
        "exec(text)",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "yaml.load(file, Loader=yaml.FullLoader)",
        "yaml.unsafe_load(file)",
        "pickle.load(file)",
        "pickle.Unpickler(file)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "trainer.fit(task, ckpt_path=path)",
        "archive.extractall(folder)",
        "LitModule.load_from_checkpoint(path, weights_only=False)",
    ],
)
def test_the_search_finds(line):
    assert offences(f"x = 1\n{line}\n")


class Attack:
    """What a pickle may do when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_cache_that_attacks(tmp_path):
    """Somebody who knows the format can write a right checksum, but no code."""
    proof, path, made = tmp_path / "proof", tmp_path / "x.cache", io.BytesIO()
    np.savez_compressed(made, a=np.array([Attack(proof)], object))
    evil, pickled = made.getvalue(), pickle.dumps(Attack(proof))
    indices = [
        '{"a": ["|O", [1]]}',
        '{"a": ["|V1000000000000", [1]]}',
        '{"a": ["<f8", [1000000000000]]}',
        '{"a": ["<f8", [-1]]}',
        '{"a": ["<f8", [1.5]]}',
        '{"a": ["<f8", [true]]}',
        '{"a": "<f8"}',
        '{"a": [["f", "<f8"], [1]]}',
        "[" * 2000,
        "[]",
        "3",
        "no JSON",
    ]
    for index, body in ((index, body) for index in indices for body in (evil, pickled, b"")):
        digest = hashlib.sha256(body + index.encode()).hexdigest()
        path.write_bytes(f"gigp v1 {digest} {index}".encode().ljust(4095) + b"\n" + body)
        with pytest.raises(CacheError, match="holds no plain arrays"):
            read(path, "v1")
        assert load_or_build(path, "v1", lambda: {"a": np.ones(2)})["a"].tolist() == [1, 1]
    assert not proof.exists()
    np.load(io.BytesIO(evil), allow_pickle=True)["a"]
    assert proof.exists()  # it is a real attack


def test_images_that_attack(tmp_path):
    proof = tmp_path / "proof"
    np.save(tmp_path / "object.npy", np.array([Attack(proof)], object), allow_pickle=True)
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Attack(proof)))
    np.savez(tmp_path / "archive.npz", a=np.zeros((2, 28, 28)))
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    (tmp_path / "zip.npy").write_bytes(b"PK\3\4 no archive")
    for name in ("object", "pickle", "archive", "zip"):
        with pytest.raises(InputError, match=r"is not a complete \.npy array of numbers"):
            list(read_npy(tmp_path / f"{name}.npy"))
    assert not proof.exists()


@pytest.mark.slow
def test_secrets_are_written_nowhere(configure, tmp_path, monkeypatch, capfd, caplog):
    """A whole run logged offline to wandb, with secrets in the environment: in no file, in no line
    of output.
    """
    names = ("WANDB_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "PASSWORD")
    hidden = {name: secrets.token_hex(20) for name in names}
    for name, value in {
        **hidden,
        "WANDB_MODE": "offline",
        "HOME": str(tmp_path),
        "SHOWN": "a value",
    }.items():
        monkeypatch.setenv(name, value)
    cfg = configure(
        "dataset=orbits", *tiny(epochs=1, train=60, val=20, test=20), "logger=wandb", "name=it"
    )
    run(cfg)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert list((left(cfg).path / "wandb").rglob("*.wandb"))
    written = [path.read_bytes() for path in files] + [
        "".join(capfd.readouterr()).encode(),
        caplog.text.encode(),
    ]
    # what is searched is not packed away
    assert any(b"max_epochs" in content for content in written)
    assert any(b"orbit_sums" in content for content in written if b"wandb" in content)
    for value in hidden.values():
        assert not any(value.encode() in content for content in written)
        assert not any(value[:12].encode() in content for content in written)
