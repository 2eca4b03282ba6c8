"""Models that come with the project, by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gigp.errors import InputError
from gigp.lab.config.paths import MODELS
from gigp.lab.data.entries import find_files
from gigp.lab.files import to_path
from gigp.lab.images.readers import IMAGE_READERS
from gigp.lab.molecules.readers import MOLECULE_READERS
from gigp.lab.prediction.predictor import Predictor

DEFAULT, DEFAULT_OF_IMAGES = "qm9", "rotmnist"


def load(name: str | Path | Sequence[str | Path] = DEFAULT, **options: Any) -> Predictor:
    """A trained model, or several, ready to predict.

    Args:
        name: name of a model that comes with the project, as `qm9`, or a folder of a model or a
            run; several in a list, or separated by commas, predict their mean and a spread.
        options: see `Predictor`.

    Raises:
        InputError: there is no such model, its files are damaged, or several do not predict the
            same.

    Examples:
        >>> predictor = load("qm9")
        >>> predictor.columns[:2]
        ['mu [D]', 'alpha [bohr^3]']
        >>> from gigp.lab.molecules.readers.molecule import make_molecule
        >>> places = [[0, 0, 0.119], [0, 0.763, -0.477], [0, -0.763, -0.477]]  # Angstrom
        >>> predictor([make_molecule(["O", "H", "H"], places)]).shape
        torch.Size([1, 12])
    """
    names = [name] if isinstance(name, Path) else name
    names = split_names(names) if isinstance(names, str) else names
    return Predictor([find_model(each) for each in names], **options)


def split_names(text: str) -> list[str]:
    """Names and paths that commas separate; a comma within a path that exists belongs to it.

    Raises:
        InputError: there is nothing before or after a comma.
    """
    words, names = text.split(","), []
    while words:
        joined = [",".join(words[:n]) for n in range(len(words), 0, -1)]  # the longest first
        name = next(filter(_exists, joined), words[0])
        words = words[name.count(",") + 1 :]
        names.append(name if _exists(name) else name.strip())
    if "" in names:
        raise InputError(f"run={text}: a name is missing; several models are written run=A,B.")
    return names


def _exists(name: str) -> bool:
    """Whether a text is the path or the name of something."""
    return bool(name) and (to_path(name).exists() or (MODELS / name / "config.yaml").exists())


def default_model(inputs: Path) -> str:
    """Name of the model for a file or folder of molecules or images; molecules, where it has both.

    Raises:
        InputError: there is no such file, or it is neither.
    """
    files = find_files(inputs, MOLECULE_READERS | IMAGE_READERS)
    endings = tuple(MOLECULE_READERS)
    molecules = any(file.name.lower().endswith(endings) for file in files)
    return DEFAULT if molecules else DEFAULT_OF_IMAGES


def find_model(name: str | Path) -> Path:
    """The folder of a model, by its name or path.

    Raises:
        InputError: it is neither.
    """
    path, shipped = to_path(name), MODELS / name
    if (shipped / "config.yaml").exists() and not (path / "config.yaml").exists():
        return shipped
    if path.exists() or len(path.parts) > 1:
        return path
    known = sorted(str(file.parent.relative_to(MODELS)) for file in MODELS.rglob("config.yaml"))
    listed = (
        f"Models here: {', '.join(known)}; give one of them"
        if known
        else f"There are no models in {MODELS}; give the folder of a model"
    )
    raise InputError(
        f"there is no model {str(name)!r}. {listed}, or the folder of a finished run, as "
        "results/runs/NAME/seed0."
    )
