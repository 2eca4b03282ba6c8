"""The cache of compiled code: files of this user that nobody else could have written."""

import hashlib
import os
import pwd
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ABANDONED_SECONDS = 3600  # folders of killed compilers are older
DIGEST_BYTES = 32  # at the end of a compiled file: tells a damaged one


class NativeError(Exception):
    """native.c cannot be used; the message gives the reason."""


class CacheError(NativeError):
    """The cache cannot be used; the message gives the reason."""


def cache_folder() -> Path:
    """Folder of compiled files: gigp/ in $XDG_CACHE_HOME, or in ~/.cache; relative paths in the
    environment, which would depend on the working folder, do not count.

    Raises:
        CacheError: there is no home folder.
    """
    home = os.environ.get("HOME", "")
    if not os.path.isabs(home):
        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:  # a user without an entry, as in containers
            raise CacheError("there is no home folder; set XDG_CACHE_HOME") from None
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if os.path.isabs(cache) else Path(home) / ".cache") / "gigp"


def make_private(folder: Path) -> Path:
    """Make a folder that only its owner may enter, or check that it is one.

    Raises:
        CacheError: it is a link, belongs to another user, or others may write there or above.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if not _is_own(os.lstat(folder), stat.S_ISDIR):
            raise CacheError(f"{folder} is no folder that you alone may write to; delete it")
        for above in folder.resolve().parents:  # whoever may rename a folder may replace it
            state = os.lstat(above)
            shared = state.st_mode & stat.S_IWOTH and not state.st_mode & stat.S_ISVTX
            if state.st_uid not in (0, os.getuid()) or shared:
                raise CacheError(f"others may write to {above}")
        folder.chmod(0o700)
    except OSError as error:
        raise CacheError(f"{folder} cannot be used: {error}") from error
    return folder


def _is_own(state: os.stat_result, is_kind: Callable[[int], bool]) -> bool:
    """Whether a file or folder belongs to this user, who alone may write to it."""
    others = state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return is_kind(state.st_mode) and state.st_uid == os.getuid() and not others


def is_intact(path: Path) -> bool:
    """Whether a compiled file is this user's own, and ends with the digest of its content."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe would wait
        with open(number, "rb") as file:
            if not _is_own(os.fstat(number), stat.S_ISREG):
                return False
            content = file.read()
    except OSError:
        return False
    return hashlib.sha256(content[:-DIGEST_BYTES]).digest() == content[-DIGEST_BYTES:]


def add_digest(path: Path) -> None:
    """Complete a file that has just been compiled."""
    content = path.read_bytes()
    path.write_bytes(content + hashlib.sha256(content).digest())
    path.chmod(0o700)


def delete_abandoned(folder: Path) -> None:
    """Delete what killed compilers have left."""
    for left in folder.glob("compiling-*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(left)
