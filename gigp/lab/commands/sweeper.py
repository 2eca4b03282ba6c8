"""Hydra's sweeper, which continues when single combinations of a sweep cannot be composed."""

import json
from collections.abc import Sequence

from hydra.core.plugins import Plugins
from hydra.errors import ConfigCompositionException

from gigp.errors import InputError
from gigp.lab.config.command_line import format_hydra_error
from gigp.lab.training.sweep import Sweep

# not imported by its name: Hydra executes the module again when it collects its plugins
PLUGINS = Plugins.instance().class_name_to_class
BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


def use_sweeper() -> None:
    """Let Hydra use `Sweeper` for its own basic one.

    It takes plugins from the namespace package hydra_plugins alone, which would be one more folder
    on the path of every checkout.
    """
    PLUGINS[BASIC] = Sweeper


class Sweeper(PLUGINS[BASIC]):  # type: ignore[misc, valid-type]
    """Runs the combinations that exist; the others count as failed runs of the sweep.

    `backbone=schnet,lieconv backbone.layers=3` has one of each: LieConv has no `layers`.

    Raises:
        InputError: no combination can be composed, or a value as `glob(x*)` matches nothing.
    """

    def get_job_batch(self) -> Sequence[Sequence[str]]:
        batch = super().get_job_batch()
        if not batch:
            raise InputError(
                "there is nothing to run: glob(...) finds names of files in configs, and here it "
                "finds none; list the values, as pool=gigp,mean."
            )
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        good, bad = [], []
        for overrides in batch:
            try:
                loader.load_sweep_config(self.config, list(overrides))
                good.append(overrides)
            except ConfigCompositionException as error:
                bad.append((overrides, format_hydra_error(error)))
        if not good:
            raise InputError(bad[0][1])
        assert Sweep.started is not None
        for number, (overrides, message) in enumerate(bad):
            line = {"run": " ".join(overrides), "outcome": f"FAILED: {message}"}
            path = Sweep.started.folder / f"refused-{self.batch_index}-{number:06d}.json"
            path.write_text(json.dumps(line))
        Sweep.started.total = len(good)
        return good

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Do nothing: `get_job_batch` has validated the batch."""
