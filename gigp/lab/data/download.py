"""Downloads of bounded size, put in place only when complete and of the expected checksum."""

import hashlib
import urllib.request
from pathlib import Path

from gigp.errors import InputError
from gigp.lab.files import open_atomically
from gigp.lab.progress import progress


def download(url: str, path: Path, limit: int, md5: str | None = None, timeout: float = 60) -> None:
    """Fetch a file.

    Args:
        url: address of the file.
        path: place for the file; it appears there only when it is complete and verified.
        limit: bytes that the file may have at most.
        md5: of the file, where it is known.
        timeout: seconds that the server may be silent.

    Raises:
        OSError: no network, a full or read-only disk, or another file than expected; nothing is
            left behind then.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "gigp"})
    digest, size = hashlib.md5(usedforsecurity=False), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        urllib.request.urlopen(request, timeout=timeout) as response,
        open_atomically(path) as file,
    ):
        promised = getattr(response, "length", None)
        with progress(f"Fetching {path.name}", promised or 0) as advance:
            while chunk := response.read(1 << 20):
                size += len(chunk)
                advance(len(chunk))
                if size > limit:
                    raise OSError(
                        f"{url} is larger than the {limit:,} bytes that are expected at most"
                    )
                digest.update(chunk)
                file.write(chunk)
        if promised is not None and size != promised:
            raise OSError(f"{url} ended after {size:,} of {promised:,} bytes")
        if md5 is not None and digest.hexdigest() != md5:
            raise OSError(f"the md5 of {url} is {digest.hexdigest()}, not {md5}")


def check_file(path: Path, limit: int) -> None:
    """Refuse a path that is not a regular file of bounded size; reading a pipe could wait forever.

    Raises:
        InputError: naming the file.
    """
    if not path.is_file() or path.stat().st_size > limit:
        raise InputError(
            f"{path} is not a regular file of at most {limit:,} bytes; delete it, and it is "
            "fetched again."
        )
