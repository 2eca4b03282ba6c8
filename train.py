"""Train and test one model, or sweep over many: `python train.py --help`."""

import os
import sys

from gigp.errors import InputError, MissingExtraError, needs_extra

try:
    with needs_extra("train"):
        import hydra
        from hydra.core.hydra_config import HydraConfig
        from hydra.errors import ConfigCompositionException, OverrideParseException
        from hydra.types import RunMode
        from omegaconf import DictConfig
except MissingExtraError as error:
    print(f"Error: {error}", file=sys.stderr)
    sys.exit(2)

INTERRUPTED = "\nInterrupted. The same command goes on from the last finished epoch."


@hydra.main(config_path="configs", config_name="config", version_base="1.3")
def main(cfg: DictConfig) -> dict[str, str]:
    """Hydra's entry point; errors that a user can mend end in one message, not in a traceback.

    Returns:
        For sweeps: `outcome` of the run, which may be a failure, and its `folder` if it is done.
    """
    from gigp.lab.runs.folder import RunFolder
    from gigp.lab.runs.lock import BusyError
    from gigp.lab.training.run import run

    overrides = list(HydraConfig.get().overrides.task)
    sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        record = run(cfg, overrides)
    except InputError as error:
        if sweep and isinstance(error, BusyError):
            return {"outcome": "left to another process, which is at work on it"}
        print(f"\nError: {error}", file=sys.stderr)
        if not sweep:
            sys.exit(2)
        return {"outcome": f"FAILED: {str(error).splitlines()[0]}"}
    except KeyboardInterrupt:
        if sweep:
            raise
        print(INTERRUPTED, file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if not sweep:
            raise
        sys.excepthook(type(error), error, error.__traceback__)
        return {"outcome": f"FAILED: {type(error).__name__}: {error}"}
    tested = [f"{name} {metric.test:.4g} {metric.unit}" for name, metric in record.metrics.items()]
    folder = RunFolder(cfg.results_dir, record.name, record.seed).path.absolute()
    return {"outcome": ", ".join(tested), "folder": str(folder)}


if __name__ == "__main__":
    from gigp.lab.config.command_line import format_hydra_error, options_first
    from gigp.lab.config.help import help_text
    from gigp.lab.config.paths import quote_paths
    from gigp.lab.training.sweep import report
    from gigp.lab.training.sweeper import use_sweeper

    # or Hydra would print its errors in its own words, and cut tracebacks short
    os.environ["HYDRA_FULL_ERROR"] = "1"
    for stream in (sys.stdout, sys.stderr):  # a terminal may know fewer characters than a path has
        stream.reconfigure(errors="backslashreplace")
    try:
        sweeps = any(word in ("-m", "--multirun", "hydra.mode=MULTIRUN") for word in sys.argv)
        sys.argv[1:] = options_first(quote_paths(sys.argv[1:], sweeps))
        if {"-h", "--help"} & set(sys.argv):
            print(help_text(), end="")
        else:
            use_sweeper()
            main()
    except (ConfigCompositionException, OverrideParseException, InputError) as error:
        print(
            f"\nError: {error if isinstance(error, InputError) else format_hydra_error(error)}",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:  # of a sweep
        print(INTERRUPTED, file=sys.stderr)
        sys.exit(130)
    finally:
        failed = report()
    sys.exit(int(failed))
