"""Hydra's part of `gigp-train`: from the command line to a run, or to the runs of a sweep."""

import sys

from gigp.errors import InputError, needs_extra
from gigp.lab.commands import program_name, tell

with needs_extra("train"):
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import ConfigCompositionException, OverrideParseException
    from hydra.types import RunMode
    from omegaconf import DictConfig

from gigp.lab.commands.sweeper import use_sweeper
from gigp.lab.config.command_line import format_hydra_error, options_first
from gigp.lab.config.compose import CONFIGS
from gigp.lab.config.help import help_text
from gigp.lab.config.paths import quote_paths
from gigp.lab.config.validate import check_settings
from gigp.lab.data.targets import parse_targets
from gigp.lab.runs.lock import BusyError
from gigp.lab.training.sweep import Outcome


def train() -> None:
    """Follow the command line.

    Raises:
        InputError: a mistake in it.
    """
    sweeps = any(word in ("-m", "--multirun", "hydra.mode=MULTIRUN") for word in sys.argv)
    sys.argv[1:] = options_first(quote_paths(sys.argv[1:], sweeps))
    if {"-h", "--help"} & set(sys.argv):
        print(help_text(program_name("train.py")), end="")
        return
    use_sweeper()
    try:
        run_task()
    except (ConfigCompositionException, OverrideParseException) as error:
        raise InputError(format_hydra_error(error)) from error


@hydra.main(config_path=str(CONFIGS), config_name="config", version_base="1.3")
def run_task(cfg: DictConfig) -> Outcome:
    """Hydra's entry point; errors that a user can mend end in one message, not in a traceback.

    Returns:
        For sweeps: the validation loss, which a sweeper that searches, as Optuna's, minimizes, with
        what the sweep says of the run in the end.
    """
    overrides = list(HydraConfig.get().overrides.task)
    sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        if cfg.choices.dataset == "qm9":  # before PyTorch is loaded
            parse_targets(cfg.dataset.target)
        check_settings(cfg, overrides)
        from gigp.lab.runs.folder import RunFolder
        from gigp.lab.training.run import run

        record = run(cfg, overrides)
    except InputError as error:
        if sweep and isinstance(error, BusyError):
            return Outcome("skipped: another process is working on it")
        tell(f"\nError: {error}")
        if not sweep:
            sys.exit(2)  # Hydra would add a line of its own to an exception
        return Outcome(f"FAILED: {str(error).splitlines()[0]}")
    except Exception as error:
        if not sweep:
            raise
        sys.excepthook(type(error), error, error.__traceback__)
        return Outcome(f"FAILED: {type(error).__name__}: {error}")
    tested = [f"{name} {metric.test:.4g} {metric.unit}" for name, metric in record.metrics.items()]
    folder = RunFolder(cfg.results_dir, record.name, record.seed).path.absolute()
    return Outcome(", ".join(tested), record.val_loss, str(folder))
