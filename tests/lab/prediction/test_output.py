"""Where predictions go: nothing that matters is overwritten, and no table is lost."""

import io
import os
import re
import stat
import sys
import threading

import pytest

from gigp.errors import InputError
from gigp.lab.prediction.output import check_output, print_output, write_output

TABLE = "name,homo [meV]\n水,-6700\n"


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """An input file, a folder of inputs, the folder of a run, and a place for rescued tables."""
    for folder in ("inputs", "run/checkpoints", "kept"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("in.xyz", "inputs/a.xyz", "run/config.yaml", "run/checkpoints/best.ckpt"):
        (tmp_path / file).write_text("precious")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "kept"))


@pytest.mark.parametrize(
    ("output", "source", "message"),
    [
        ("in.xyz", "in.xyz", "is the input; name another file"),
        ("link.csv", "in.xyz", "is the input; name another file"),
        ("inputs/out.csv", "inputs", "lies in the folder of the input"),
        ("inputs/a.xyz", "inputs", "lies in the folder of the input"),
        ("through/out.csv", "inputs", "lies in the folder of the input"),
        ("elsewhere.xyz", "inputs", "is the input; name another file"),
        ("run/checkpoints/best.ckpt", "in.xyz", "which holds a trained model"),
        ("run/config.yaml", "in.xyz", "which holds a trained model"),
        ("run/out.csv", "in.xyz", "which holds a trained model"),
        ("inputs", "in.xyz", "name a file in a folder that exists"),
        ("nowhere/out.csv", "in.xyz", "name a file in a folder that exists"),
        ("x" * 300, "in.xyz", "File name too long"),
    ],
)
def test_places_that_are_refused(tmp_path, output, source, message):
    (tmp_path / "link.csv").symlink_to(tmp_path / "in.xyz")
    (tmp_path / "through").symlink_to(tmp_path / "inputs")
    (tmp_path / "elsewhere.xyz").write_text("precious")
    (tmp_path / "inputs" / "b.xyz").symlink_to(tmp_path / "elsewhere.xyz")
    with pytest.raises(InputError, match=message):
        check_output(tmp_path / output, tmp_path / source)


@pytest.mark.parametrize("output", ["new.csv", "old.csv", "inputs/deeper/out.csv", "device"])
def test_places_that_are_fine(tmp_path, output):
    """The check neither makes nor changes anything, and the table can then be written there."""
    (tmp_path / "old.csv").write_text("old")
    (tmp_path / "inputs" / "deeper").mkdir()
    (tmp_path / "device").symlink_to("/dev/null")
    before = {path: path.stat().st_size for path in tmp_path.rglob("*")}
    check_output(tmp_path / output, tmp_path / "inputs")
    assert {path: path.stat().st_size for path in tmp_path.rglob("*")} == before
    write_output(tmp_path / output, TABLE)
    written = (tmp_path / output).read_text(encoding="utf-8")
    assert written == ("" if output == "device" else TABLE)


def test_links_stay_and_permissions_too(tmp_path):
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "real.csv").chmod(0o600)
    for name, target in (("link.csv", "real.csv"), ("dangling.csv", "later.csv")):
        (tmp_path / name).symlink_to(tmp_path / target)
        write_output(tmp_path / name, TABLE)
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / target).read_text(encoding="utf-8") == TABLE
    assert stat.S_IMODE((tmp_path / "real.csv").stat().st_mode) == 0o600


def test_devices_and_pipes_are_written_through(tmp_path):
    device = tmp_path / "device"
    device.symlink_to("/dev/null")
    write_output(device, TABLE)
    assert stat.S_ISCHR(device.stat().st_mode)
    os.mkfifo(tmp_path / "pipe")
    received = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_output(tmp_path / "pipe", TABLE)
    reader.join(10)
    assert received == [TABLE.encode()]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_an_open_file_is_appended_to(tmp_path):
    """As /dev/stdout is, after >> log."""
    with open(tmp_path / "log", "w") as file:
        file.write("before\n")
        file.flush()
        write_output(tmp_path / f"/dev/fd/{file.fileno()}", TABLE)
    assert (tmp_path / "log").read_text(encoding="utf-8") == "before\n" + TABLE


def kept(message: str) -> str:
    """The table in the file that a message names."""
    with open(re.search(r"The predictions are in (\S+)\.$", message)[1], encoding="utf-8") as file:
        return file.read()


def test_predictions_are_kept_where_the_output_fails(tmp_path):
    (tmp_path / "gone").mkdir()
    for output in (tmp_path / "gone" / "out.csv", "/dev/full"):
        if output != "/dev/full":
            (tmp_path / "gone").rmdir()
        with pytest.raises(InputError, match="cannot write") as failure:
            write_output(tmp_path / output, TABLE)
        assert kept(str(failure.value)) == TABLE


def test_standard_output_that_is_full_or_closed(monkeypatch):
    with open("/dev/full", "w") as full:
        for stdout, message in ((full, "No space left"), (None, "standard output is closed")):
            monkeypatch.setattr(sys, "stdout", stdout)
            with pytest.raises(InputError, match=message) as failure:
                print_output(TABLE)
            assert kept(str(failure.value)) == TABLE


def test_readers_that_have_seen_enough_are_no_error(monkeypatch, tmp_path):
    """As `head`: no table is kept elsewhere, and the stream leads nowhere, so that the flush at the
    exit of the program does not fail either.
    """
    receiving, sending = os.pipe()
    os.close(receiving)
    with open(sending, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        print_output(TABLE)
        assert os.fstat(sending).st_rdev == os.stat("/dev/null").st_rdev
        stdout.write(TABLE)
        stdout.flush()
    assert not list((tmp_path / "kept").iterdir())


@pytest.mark.parametrize(
    ("encoding", "shown"), [("utf-8", TABLE), ("ascii", TABLE.replace("水", r"\u6c34"))]
)
def test_standard_output_of_any_encoding(monkeypatch, encoding, shown):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding))
    print_output(TABLE)
    assert raw.getvalue().decode() == shown
