"""Make a small model folder of a finished run, to be shipped or shared.

    python scripts/export_model.py RUN NAME [--half]

RUN   folder of a finished run on qm9 or rotmnist, or on the features or outputs of one
NAME  name of the model, which becomes results/models/NAME; or a folder elsewhere
--half  store matrices in half precision, for models that are too large otherwise

The folder holds config.yaml, model.safetensors and README.md, the model card with test errors
beside those of trivial baselines; it has at most 4 MB.
"""

import argparse
import sys
from pathlib import Path

from gigp.datasets import QM9
from gigp.errors import InputError
from gigp.prediction.card import Baselines, baseline_errors, make_card
from gigp.prediction.models import MODELS
from gigp.prediction.release import load_whole, release_model
from gigp.training.record import read_record


def main(arguments: list[str]) -> int:
    """Run the command line, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--half", action="store_true")
    options = parser.parse_args(arguments)
    folder = MODELS / options.name if len(Path(options.name).parts) == 1 else Path(options.name)
    try:
        size = export(options.run, folder, options.half)
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    print(f"{folder}: {size:,} bytes; predictions are those of {options.run}.")
    return 0


def export(run: Path, folder: Path, half: bool = False) -> int:
    """Write the model folder of a run, and return its size in bytes."""
    record = read_record(run / "summary.json")
    _, data, _ = load_whole(run)
    baselines: Baselines = {}
    if isinstance(data, QM9):
        data.setup()
        baselines = baseline_errors(data)
    card = make_card(folder.name, record, baselines)
    return release_model(run, folder, card, record.data, half)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
