"""What a result may depend on besides its configuration: versions, commit, machine."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

# what git says of changed files; records under results/ are no code, and a run that is done again
# writes its own
CHANGED = ("status", "--porcelain", "--untracked-files=no", "--", ":(top)", ":(top,exclude)results")


def environment() -> dict[str, Any]:
    """What a result may depend on besides the configuration: versions, commit, machine."""
    import torch  # here, since tables need none of it, and to import it takes longer than they do

    commit = _git("rev-parse", "HEAD")
    return {
        "versions": {
            "python": platform.python_version(),
            **{
                package: version(package)
                for package in ("gigp", "torch", "lightning", "torch-geometric", "numpy")
            },
        },
        "git_commit": commit,
        "git_dirty": None if commit is None else bool(_git(*CHANGED)),
        "device": torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
    }


def _git(*arguments: str) -> str | None:
    """Output of a git command in the project's checkout; None where the package is not in one."""
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
