"""Output of predictions to a file, a device, or standard output; never over files that matter."""

import contextlib
import io
import os
import stat
import sys
import tempfile
from pathlib import Path

from gigp.errors import InputError
from gigp.lab.files import write_atomically

# what these name is open already, and may be a file: it is written to, not replaced
STREAMS = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")
# files and folders of a run other than its configuration
RUN_FILES = ("checkpoints", "summary.json", "metrics.csv", "model.safetensors")


def check_output(output: Path, source: Path, option: str = "output") -> None:
    """Refuse, before any work, a place where predictions cannot or must not go.

    Args:
        output: file to write.
        source: file or folder of the input.
        option: name of the setting that gives the file, for messages.

    Raises:
        InputError: it is a folder or in none, an input or beside the inputs, or within the folder
            of a run.
    """
    try:
        if output.is_dir() or not output.parent.is_dir():
            raise InputError(
                f"{option}={output} cannot be written: name a file in a folder that exists."
            )
        if _is_stream(output):
            return
        real = Path(os.path.realpath(output))
        if source.is_dir():
            inputs = [source / name for name in os.listdir(source)]
            if real.parent.samefile(source):
                raise InputError(
                    f"{option}={output} lies in the folder of the input, whose files are read; "
                    "name a file elsewhere."
                )
        else:
            inputs = [source]
        if real.exists() and any(file.exists() and real.samefile(file) for file in inputs):
            raise InputError(f"{option}={output} is the input; name another file.")
    except OSError as error:
        raise InputError(f"{option}={output} cannot be written: {error.strerror}.") from error
    if run := next(filter(_is_run, real.parents), None):
        raise InputError(
            f"{option}={output} lies in {run}, which holds a trained model; name a file elsewhere."
        )


def write_output(output: Path, table: str, are: str = "predictions are") -> None:
    """Write a table, or a page, in UTF-8 to a file, atomically, or through to a device. A symbolic
    link stays, and a file keeps its permissions.

    Args:
        are: what it is, and the verb, for messages.

    Raises:
        InputError: it cannot be written; the message names the file that holds the table instead.
    """
    try:
        if _is_stream(output):
            with open(output, "ab") as file:
                file.write(table.encode())
            return
        real = Path(os.path.realpath(output))
        mode = stat.S_IMODE(real.stat().st_mode) if real.exists() else None
        write_atomically(real, table)
        if mode is not None:
            real.chmod(mode)
    except OSError as error:
        raise _kept(f"cannot write {output}: {error.strerror}", table, are) from error
    except InputError as error:
        raise _kept(str(error).rstrip("."), table, are) from error


def print_output(table: str) -> None:
    """Write a table to standard output; characters that its encoding lacks are escaped.

    Raises:
        InputError: it cannot be written; the message names the file that holds the table instead.
    """
    if sys.stdout is None:
        raise _kept("standard output is closed", table)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.stdout.write(table)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the table, as `head`, has seen enough
        _silence_stdout()
    except OSError as error:
        _silence_stdout()
        raise _kept(f"cannot write to standard output: {error.strerror}", table) from error


def _is_stream(path: Path) -> bool:
    """Whether a path is a device, a pipe, or something that this process has open."""
    if os.path.abspath(path).startswith(STREAMS):
        return True
    return path.exists() and not stat.S_ISREG(path.stat().st_mode)


def _is_run(folder: Path) -> bool:
    """Whether a folder is one of a run or a model."""
    return (folder / "config.yaml").exists() and any((folder / name).exists() for name in RUN_FILES)


def _silence_stdout() -> None:
    """Drop the buffer of standard output, or writing it would fail again at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _kept(reason: str, table: str, are: str = "predictions are") -> InputError:
    """The error for output that cannot be written, after it is saved in a temporary file."""
    what = are.split()[0]
    try:
        suffix = ".csv" if what == "predictions" else ".html"
        number, name = tempfile.mkstemp(prefix=f"{what}-", suffix=suffix)
        with open(number, "wb") as file:
            file.write(table.encode())
    except OSError as error:
        return InputError(f"{reason}; nor could they be kept elsewhere ({error.strerror}).")
    return InputError(f"{reason}. The {are} in {name}.")
