"""Conditions of a result besides its configuration: versions, commit, machine."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gigp.backbones.lieconv.native import native_status

# git status of the code: `make tables` writes into results and README.md between two runs
NOT_CODE = (":(top,exclude)results", ":(top,exclude)*.md")
CHANGED = ("status", "--porcelain", "--untracked-files=no", "--", ":(top)", *NOT_CODE)


def collect_provenance() -> dict[str, Any]:
    """Conditions of a result besides the configuration: versions, commit, machine."""
    commit = _git("rev-parse", "HEAD")
    packages = ("gigp", "torch", "lightning", "torch-geometric", "numpy")
    cuda = torch.cuda.is_available()
    return {
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
        "git_commit": commit,
        "git_dirty": None if commit is None else bool(_git(*CHANGED)),
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "native": native_status(),
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
