"""A small disk of its own, to be filled or made read-only."""

import os
import subprocess
from pathlib import Path


class Disk:
    """A mounted file system.

    Args:
        path: folder of the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ballast = path / "ballast"

    @property
    def free(self) -> int:
        """Bytes."""
        state = os.statvfs(self.path)
        return state.f_bavail * state.f_frsize

    def leave(self, room: int) -> None:
        """Fill the disk but for so many bytes, to a page."""
        with open(self.ballast, "wb") as file:
            if (size := self.free - room) > 0:
                os.posix_fallocate(file.fileno(), 0, size)

    def clear(self) -> None:
        self.ballast.unlink()

    def read_only(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.path)], check=True)
