"""Make a finished run of a checkpoint of the public LieConv code, or of GIGP's code, on QM9.

    python scripts/import_reference.py CHECKPOINT [--target homo] [--name NAME] [KEY=VALUE ...]

CHECKPOINT  file that its trainer has saved, as c500.state, of a net on T(3) with mean pooling
--target    the property that the net was trained on
--name      name of the run; `lieconv_TARGET` without it
KEY=VALUE   further settings, as of train.py: dataset.test_size=1000, results_dir=FOLDER

The file is read without executing anything in it. The run is validated and tested as any other, and
serves as any other: predict.py run=..., init_from=..., dataset=features or outputs. Weights of a
GIGP layer are left out: its orbit centers are not in the file.
"""

import argparse
import sys
import time
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from gigp.errors import InputError
from gigp.lab.commands import tell
from gigp.lab.config.compose import compose_config
from gigp.lab.config.paths import quote_paths
from gigp.lab.data.targets import TARGETS
from gigp.lab.files import to_path
from gigp.lab.hashing import hash_file
from gigp.lab.prediction.lieconv_checkpoint import (
    NetShape,
    copy_weights,
    find_shape,
    read_checkpoint,
)
from gigp.lab.runs.checkpoints import save_checkpoint
from gigp.lab.runs.console import quiet
from gigp.lab.runs.folder import RunFolder
from gigp.lab.runs.memory import peak_memory_mb
from gigp.lab.runs.record import Record
from gigp.lab.runs.samples import write_samples
from gigp.lab.runs.summary import make_record
from gigp.lab.training.build import RunParts, build

FILL = 0.25  # of the reference's nets; the radii of the balls come with the weights


def main(arguments: list[str]) -> int:
    """Run the command line, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=to_path)
    parser.add_argument("--target", choices=list(TARGETS), default="homo")
    parser.add_argument("--name")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args(arguments)
    name = options.name or f"lieconv_{options.target}"
    try:
        record = import_run(options.checkpoint, options.target, name, options.overrides)
    except InputError as error:
        tell(f"Error: {error}")
        return 2
    metric = record.metrics[options.target]
    print(f"{options.target}: test error {metric.test:.4g} {metric.unit}")
    return 0


def import_run(checkpoint: Path, target: str, name: str, overrides: list[str]) -> Record:
    """Make a finished run of a checkpoint, and return its record.

    Raises:
        InputError: the checkpoint cannot be imported, or the folder of the run holds another one.
    """
    quiet()
    state = read_checkpoint(checkpoint)
    layout = find_shape(state)
    if layout.left_out:
        print(f"Left out: {', '.join(layout.left_out)}.")
    cfg = compose(layout, target, name, overrides)
    config = OmegaConf.to_container(cfg, resolve=True)
    folder = RunFolder(cfg.results_dir, name, cfg.seed)
    with folder.lock():
        if not cfg.overwrite and folder.finished():
            raise InputError(f"{folder.path} is finished; give another --name, or overwrite=true.")
        parts = build(cfg, folder, resume=False)
        copy_weights(parts.module.model, state)
        folder.begin(config, cfg.overwrite)
        save_best(parts, folder)
        record = evaluate(config, parts, folder)
        folder.finish(record)
    print(f"{folder.path} is a finished run.")
    return record


def compose(layout: NetShape, target: str, name: str, overrides: list[str]) -> DictConfig:
    """The configuration of a net with a layout, as the reference trains it."""
    if layout.out_channels != 1:
        raise InputError(f"the net predicts {layout.out_channels} numbers; it should predict one.")
    settings = {
        "dataset": "qm9",
        "group": "T3",
        "pool": "mean",
        "scale": "paper",
        "logger": "csv",
        "target": target,
        "name": name,
        "batch_norm_clouds": 0,  # the statistics of the batch norms come with the weights
        "dataset.reference": "atoms",
        "backbone.width": layout.width,
        "backbone.blocks": layout.blocks,
        "backbone.fill": FILL,
    }
    given = quote_paths(overrides)
    return compose_config([*(f"{key}={value}" for key, value in settings.items()), *given])


def save_best(parts: RunParts, folder: RunFolder) -> None:
    """Write the checkpoint that a run is tested and used from."""
    data = parts.data
    checkpoint = {
        "state_dict": parts.module.state_dict(),
        type(data).__qualname__: data.state_dict(),
    }
    save_checkpoint(folder.best, checkpoint)
    parts.history.best = hash_file(folder.best)


def evaluate(config: dict, parts: RunParts, folder: RunFolder) -> Record:
    """Validate and test, and make the record; its one row of history holds no training."""
    start, cpu_start = time.perf_counter(), time.process_time()
    trainer, module, data = parts.trainer, parts.module, parts.data
    parts.history.on_train_epoch_start(trainer, module)  # starts its clock
    validated = trainer.validate(module, datamodule=data, verbose=False)[0]
    seconds = round(time.perf_counter() - start, 3)
    parts.history.rows = [
        {
            "epoch": 0,
            "step": 0,
            "lr": 0.0,
            **{key: float(value) for key, value in sorted(validated.items())},
            "train_seconds": seconds,
            "seconds": seconds,
            "cpu_seconds": round(time.process_time() - cpu_start, 3),
        }
    ]
    parts.history.write()
    results = trainer.test(module, datamodule=data, verbose=False)[0]
    write_samples(folder.samples, module.samples)
    return make_record(
        config,
        folder.name,
        [],
        data,
        module,
        parts.history,
        results,
        {},
        trainer.world_size,
        peak_memory_mb(),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
