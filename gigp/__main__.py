"""`python -m gigp`: the commands that the package brings."""

from gigp import __version__

COMMANDS = f"""\
gigp {__version__}: Group Invariant Global Pooling

  gigp-train     train and test a model, or sweep over many      gigp-train dataset=qm9 pool=gigp
  gigp-predict   predict with a trained model                    gigp-predict input=molecules.xyz
  gigp-explain   a page: what each orbit adds to predictions     gigp-explain molecules.xyz
  gigp-report    a page about finished runs                      gigp-report RUN [RUN ...]
  gigp-compare   compare finished runs by pool                   gigp-compare [RUN ...]

Each takes --help. gigp-predict and gigp-explain need the extra `predict`, the others `train`. In
Python, `from gigp import GIGP, GIGPAggregation` is the layer, `gigp.load("qm9")` a trained model.
"""

if __name__ == "__main__":
    print(COMMANDS, end="")
