"""How well does the spread of predictions rank their errors?

    python scripts/check_uncertainty.py A,B,C [--rotations N] [--molecules N] [--card MODEL]

A,B,C        runs or models of the same targets of molecules; one alone needs --rotations
--rotations  average over so many orientations, 2 to 24, see predict.py
--molecules  the first so many of the test set; without it, all
--card       write the table into the card of this model, a folder or a name of results/models

For every target: the mean absolute error, that of the half of the molecules with the smallest
spread, the mean spread, and Spearman's correlation between spread and absolute error. The data set
of the models is needed. A spread that says nothing has a correlation of 0, and its certain half the
error of all.
"""

import argparse
import shlex
import sys

from gigp.errors import InputError
from gigp.lab.prediction.models import find_model, load
from gigp.lab.prediction.uncertainty import (
    describe,
    measure_ranking,
    put_in_card,
    table_of_rankings,
)
from gigp.lab.runs.quiet import quiet_libraries


def main(arguments: list[str]) -> int:
    """Run the command line, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs")
    parser.add_argument("--rotations", type=int, default=0)
    parser.add_argument("--molecules", type=int)
    parser.add_argument("--card")
    options = parser.parse_args(arguments)
    quiet_libraries()
    try:
        # ranks need no digits beyond those of single precision, which is faster
        settings = {"check": False, "extrapolate": True, "precision": "single"}
        predictor = load(options.runs, rotations=options.rotations, **settings)
        rankings = measure_ranking(predictor, options.molecules)
        lines = table_of_rankings(predictor, rankings)
        print("\n".join(lines))
        if options.card:
            words = shlex.join(["python", "scripts/check_uncertainty.py", *arguments])
            card = find_model(options.card) / "README.md"
            said = describe(predictor, options.molecules)
            put_in_card(card, [said, "", *lines, "", f"`{words}` makes this table."])
            print(f"wrote {card}")
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
