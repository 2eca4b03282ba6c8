"""Show the orbits of molecules or images, and what each adds to the predictions of a model.

    gigp-explain molecules.xyz [run=FOLDER] [out=molecules.html]

It writes one page, which a browser opens without a network: every molecule in space, the orbits of
the pool as shells about its center, and for each target what every orbit adds to the prediction,
which is that of gigp-predict, also for rotated copies. For images: rings, and logits of classes.

input   molecules or an image, in the formats of gigp-predict; `input=` may be left out
run     folder of a finished run or of a model with pool=gigp, or name of a model; without it, one
        that comes with the project: qm9 for molecules, rotmnist for images
out     page to write; without it, the name of the input with the ending .html, in this folder
limit   how many molecules or images, the first that can be predicted; 12 without it
check   false: show also what the model has never seen

Exit status: 0, everything that was read is shown; 1, some of it, the rest is listed on standard
error; 2, nothing. docs/using_models.md has the formats.
"""

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from gigp.errors import printable
from gigp.lab.commands import answer, check_positive, parse_options, program_name, tell

if TYPE_CHECKING:
    from gigp.lab.data.entries import InputEntry

OPTIONS = ("input", "run", "out", "limit", "check")
USAGE = "write {program} FILE [run=FOLDER] [out=PAGE.html]."
ENDING = ".html"


def parse(arguments: list[str]) -> dict[str, str]:
    """Options by name; a word that is no option, or is the path of something, is the input."""
    words = [f"input={word}" if "=" not in word or _is_file(word) else word for word in arguments]
    usage = USAGE.format(program=program_name("scripts/explain.py"))
    options = parse_options(words, OPTIONS, usage)
    check_positive(options, "limit")
    return options


def _is_file(word: str) -> bool:
    """Whether a word with an equals sign in it is a path, as a=b.xyz."""
    return word.partition("=")[0] not in OPTIONS and os.path.exists(word)


def explain_and_write(arguments: list[str]) -> list["InputEntry"]:
    """Write the page by the options of the command line, and return the entries of the input.

    Raises:
        InputError: nothing can be shown, or the page not be written.
    """
    from gigp.lab.files import to_path
    from gigp.lab.prediction.explain import explain
    from gigp.lab.prediction.models import default_model
    from gigp.lab.prediction.output import check_output, write_output

    options = parse(arguments)
    source = to_path(options["input"])
    run = options["run"] if "run" in options else default_model(source)
    out = to_path(options.get("out", source.resolve().stem + ENDING))
    check_output(out, source, "out")
    page, entries = explain(
        run, source, int(options.get("limit", 12)), options.get("check", "true") == "true"
    )
    if page:
        write_output(out, page, "page is")
        tell(printable(f"{out}: {len(page.encode()) / 1000:.0f} kB; open it in a browser."))
    return entries


def main() -> NoReturn:
    """Run the command line, and exit with its status."""
    # predictions need no Lightning, which takes twice as long to load as PyTorch
    sys.modules.setdefault("lightning", None)  # type: ignore[arg-type]
    sys.exit(follow(sys.argv[1:]))


def follow(arguments: list[str]) -> int:
    """Run a command line, and return the exit status."""
    description = str(__doc__).replace("gigp-explain", program_name("scripts/explain.py"), 1)
    return answer(arguments, description, explain_and_write, "Shown")
