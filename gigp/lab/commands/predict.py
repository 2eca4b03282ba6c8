"""Predict with a trained model.

    gigp-predict input=molecules.xyz [run=FOLDER] [output=predictions.csv]

input       molecules: .xyz, .sdf, or .csv with the columns molecule, element, x, y, z;
            images: .png, .jpeg, .npy, idx; or a folder of such files
run         folder of a finished run on molecules or images, as results/runs/NAME/seed0, or name or
            folder of a model; without it, one that comes with the project: qm9 for molecules,
            rotmnist for images. Several, as run=A,B,C, predict their mean and a spread for each
            column, the standard deviation of their predictions
output      CSV file to write; standard output without it
batch_size  how many at a time; predictions do not depend on it
check       false: predict also what the model has never seen (ions, radicals, missing hydrogens,
            other units); the column `unchecked` has the reason for which it would be refused
extrapolate  true: give also numbers far outside the range of the training targets
rotations   average over so many orientations, 2 to 24, for models that are not exactly invariant;
            of one model, the spread is that over the orientations

Molecules whose sizes or elements lie outside those of the training set are predicted, and one line
on standard error warns of them.

Exit status: 0, everything was predicted; 1, some of it, the rest is listed on standard error and in
the column `error`; 2, nothing, or the table could not be written, and the message names
the file that holds it instead. docs/using_models.md has the formats and units.
"""

import re
import sys
from typing import TYPE_CHECKING, NoReturn

from gigp.errors import InputError
from gigp.lab.commands import answer, check_positive, parse_options, program_name

if TYPE_CHECKING:
    from gigp.lab.data.entries import InputEntry

OPTIONS = ("input", "run", "output", "batch_size", "check", "extrapolate", "rotations")
USAGE = "write {program} input=FILE [run=FOLDER] [output=FILE]."


def usage() -> str:
    """How to call the program, for messages."""
    return USAGE.format(program=program_name("predict.py"))


def parse(arguments: list[str]) -> dict[str, str]:
    """Options by name."""
    options = parse_options(arguments, OPTIONS, usage())
    check_positive(options, "batch_size")
    if not re.fullmatch(r"\d{1,6}", options.get("rotations", "0"), re.ASCII):
        raise InputError(f"rotations={options['rotations'][:40]}: it must be a whole number.")
    return options


def predict_and_write(arguments: list[str]) -> list["InputEntry"]:
    """Predict by the options of the command line, write the table, and return the input's entries.

    Raises:
        InputError: nothing could be predicted, or the table not be written.
    """
    from gigp.lab.files import to_path
    from gigp.lab.prediction import predict
    from gigp.lab.prediction.models import default_model
    from gigp.lab.prediction.output import check_output, print_output, write_output

    options = parse(arguments)
    source = to_path(options["input"])
    run = options["run"] if "run" in options else default_model(source)
    output = to_path(options["output"]) if "output" in options else None
    if output is not None:
        check_output(output, source)
    elif sys.stdout is None:
        raise InputError("standard output is closed; name a file with output=.")
    table, entries = predict(
        run,
        source,
        int(options.get("batch_size", 250)),
        check=options.get("check", "true") == "true",
        extrapolate=options.get("extrapolate", "false") == "true",
        rotations=int(options.get("rotations", 0)),
    )
    if output is not None:
        write_output(output, table)
    else:
        print_output(table)
    return entries


def main() -> NoReturn:
    """Run the command line, and exit with its status."""
    # predictions need no Lightning, which takes twice as long to load as PyTorch
    sys.modules.setdefault("lightning", None)  # type: ignore[arg-type]
    sys.exit(follow(sys.argv[1:]))


def follow(arguments: list[str]) -> int:
    """Run a command line, and return the exit status."""
    description = str(__doc__).replace("gigp-predict", program_name("predict.py"))
    return answer(arguments, description, predict_and_write, "Predicted")
