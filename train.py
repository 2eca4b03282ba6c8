"""Train and test one model, or sweep over many: `python train.py --help`."""

import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

outcomes: list[tuple[str, str]] = []  # of a sweep: overrides of each run, and what became of it


@hydra.main(config_path="configs", config_name="config", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Hydra's entry point; errors that a user can mend end in one message, not in a traceback."""
    from gigp.errors import InputError
    from gigp.run import run

    overrides = list(HydraConfig.get().overrides.task)
    sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        summary = run(cfg, overrides)
    except InputError as error:
        print(f"\nError: {error}", file=sys.stderr)
        if not sweep:
            sys.exit(2)
        outcomes.append((" ".join(overrides), f"FAILED: {str(error).splitlines()[0]}"))
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from the last finished epoch.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if not sweep:
            raise
        sys.excepthook(type(error), error, error.__traceback__)
        outcomes.append((" ".join(overrides), f"FAILED: {type(error).__name__}: {error}"))
    else:
        tests = (f"{name} {m['test']:.4g} {m['unit']}" for name, m in summary["metrics"].items())
        outcomes.append((" ".join(overrides), ", ".join(tests)))


if __name__ == "__main__":
    main()
    if len(outcomes) > 1:
        print("\n" + "\n".join(f"{run}: {outcome}" for run, outcome in outcomes))
    sys.exit(int(any(outcome.startswith("FAILED") for _, outcome in outcomes)))
