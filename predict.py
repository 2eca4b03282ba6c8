"""Predict with a trained model.

    python predict.py run=results/runs/NAME/seed0 input=molecules.xyz [output=predictions.csv]

run         folder of a finished run on qm9 or rotmnist, with its checkpoints
input       molecules: .xyz, .sdf, or .csv with the columns molecule, element, x, y, z;
            images: .png, .npy, idx; or a folder of such files
output      CSV file to write; standard output without it
batch_size  how many at a time; predictions do not depend on it

Exit status: 0, everything was predicted; 1, some of it, the rest is listed on standard error and in
the column `error`; 2, nothing. docs/using_models.md has the formats and units.
"""

import os
import sys
from difflib import get_close_matches
from pathlib import Path

OPTIONS = ("run", "input", "output", "batch_size")
USAGE = "write python predict.py run=FOLDER input=FILE [output=FILE]."


def parse(arguments: list[str]) -> dict[str, str]:
    """Options by name, checked as far as that goes without work."""
    from gigp.errors import InputError

    for argument in arguments:
        if "=" not in argument:
            raise InputError(f"{argument!r} is not of the form option=value; {USAGE}")
    options = {key: value for key, _, value in (argument.partition("=") for argument in arguments)}
    for key, value in options.items():
        if key not in OPTIONS:
            close = get_close_matches(key, OPTIONS, n=1)
            hint = f" Did you mean {close[0]}=?" if close else ""
            raise InputError(
                f"{key!r} is no option.{hint} Options: {', '.join(f'{name}=' for name in OPTIONS)}."
            )
        if not value:
            raise InputError(f"{key}= has no value.")
    for key in ("run", "input"):
        if key not in options:
            raise InputError(f"{key}= is missing; {USAGE}")
    if not options.get("batch_size", "1").isdecimal():
        raise InputError(f"batch_size={options['batch_size']}: it must be a positive integer.")
    if "output" in options:
        output = Path(options["output"])
        if output.is_dir() or not output.parent.is_dir():
            raise InputError(
                f"output={output} cannot be written: name a file in a folder that exists."
            )
        if output.exists() and output.samefile(options["input"]):
            raise InputError(f"output={output} is the input; name another file.")
    return options


def main(arguments: list[str]) -> int:
    """Predict as the command line says, and return the exit status."""
    if not arguments or {"-h", "--help", "help"} & set(arguments):
        print(__doc__)
        return 0 if arguments else 2
    from gigp.errors import InputError
    from gigp.files import write_atomically

    try:
        from gigp.prediction import predict

        options = parse(arguments)
        table, entries = predict(
            options["run"], options["input"], int(options.get("batch_size", 250))
        )
        if "output" in options:
            write_atomically(Path(options["output"]), table)
        else:
            sys.stdout.write(table)
            sys.stdout.flush()
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read the table, as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    bad = [entry for entry in entries if entry.error]
    for entry in bad:
        where = (
            f"{entry.file}, {entry.number}{f' ({entry.name})' * bool(entry.name)}: "
            if entry.number
            else ""
        )
        print(f"{where}{entry.error}", file=sys.stderr)
    print(f"Predicted {len(entries) - len(bad):,} of {len(entries):,}.", file=sys.stderr)
    return 0 if not bad else 1 if len(bad) < len(entries) else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
