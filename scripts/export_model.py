"""Make a small model folder of a finished run, to be shipped or shared.

    python scripts/export_model.py RUN NAME [--half]

RUN   folder of a finished run on molecules or images, or on the features or outputs of one
NAME  name of the model, which becomes results/models/NAME; or a folder elsewhere
--half  store matrices in half precision, for models that are too large otherwise

The folder holds config.yaml, model.safetensors and README.md, the model card with test errors
beside those of baselines by least squares; it has at most 4 MB. The data of the run are needed: the
model is tested as it is stored, and refused where its errors differ from those of the run by more
than 0.5%.
"""

import argparse
import sys
from pathlib import Path

from gigp.errors import InputError
from gigp.lab.commands import tell
from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.files import to_path
from gigp.lab.images.baselines import image_errors
from gigp.lab.images.clouds import ImageClouds
from gigp.lab.molecules.baselines import NAMES, Baselines, molecule_errors
from gigp.lab.molecules.clouds import MoleculeClouds
from gigp.lab.prediction.card import make_card
from gigp.lab.prediction.models import MODELS
from gigp.lab.prediction.release import Errors, release_model
from gigp.lab.runs.record import read_record
from gigp.lab.training.module import LitModule


def main(arguments: list[str]) -> int:
    """Run the command line, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=to_path)
    parser.add_argument("name")
    parser.add_argument("--half", action="store_true")
    options = parser.parse_args(arguments)
    folder = MODELS / options.name if len(Path(options.name).parts) == 1 else Path(options.name)
    try:
        size = export(options.run, folder, options.half)
    except InputError as error:
        tell(f"Error: {error}")
        return 2
    print(f"{folder}: {size:,} bytes; predictions are those of {options.run}.")
    return 0


def export(run: Path, folder: Path, half: bool = False) -> int:
    """Write the model folder of a run, and return its size in bytes."""
    record = read_record(run / "summary.json")
    where = folder.resolve()
    name = str(where.relative_to(MODELS)) if where.is_relative_to(MODELS) else folder.name

    def card(data: PointCloudDataModule, module: LitModule, errors: Errors) -> str:
        parameters = sum(parameter.numel() for parameter in module.model.parameters())
        return make_card(name, record, data, parameters, errors, fit_baselines(data), half)

    return release_model(run, folder, record, card, half)


def fit_baselines(data: PointCloudDataModule) -> Baselines:
    """Test errors of the baselines of a data set, by their names for readers."""
    if isinstance(data, MoleculeClouds):
        return {NAMES[name]: errors for name, errors in molecule_errors(data).items()}
    return image_errors(data) if isinstance(data, ImageClouds) else {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
