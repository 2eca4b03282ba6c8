"""A whole record of a run, for tests that need one."""

from dataclasses import replace

from gigp.lab.runs.record import SCHEMA_VERSION, Metric, Record


def example_record(**fields) -> Record:
    """A whole record with some fields replaced."""
    whole = Record(
        schema_version=SCHEMA_VERSION,
        name="qm9_homo_T3_gigp_small",
        seed=0,
        overrides=[],
        choices={"dataset": "qm9", "group": "T3", "pool": "gigp", "scale": "small"},
        backbone={"width": 128},
        pool={"orbits": 50},
        lr=3e-3,
        warmup=0.01,
        pool_on="outputs",
        init_from=None,
        frozen_backbone=False,
        batch_norm_clouds=2000,
        metrics={"homo": Metric(unit="meV", kind="intensive", test=100.5, val=99)},
        test_loss=0.1,
        val_loss=0.1,
        best_epoch=1,
        curve={"epoch": [0, 1], "val/homo": [120.25, 99]},
        data={"dataset": "qm9", "sizes": {"train": 10}, "positions_std": 1.5},
        backbone_group="T(3)",
        pool_group="SO(3)",
        learned={},
        parameters=10,
        trainable_parameters=10,
        epochs=2,
        steps=20,
        seconds=1.5,
        cpu_minutes=0.1,
        seconds_per_epoch=0.75,
        samples_per_second=100,
        peak_memory_mb=100,
        processes=1,
        versions={"python": "3.11"},
        git_commit="0" * 40,
        git_dirty=False,
        device="cpu",
        threads=1,
    )
    return replace(whole, **fields)
