"""Options of Lightning's trainer: each works, or is refused in one sentence."""

import pytest

from gigp.errors import InputError
from gigp.lab.training.run import run
from tests.conftest import tiny

CLOUDS = ("dataset=orbits", *tiny(epochs=2, train=50, val=10, test=10), "dataset.batch_size=20")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("+trainer.check_val_every_n_epoch=2", "every epoch is validated"),
        ("+trainer.max_steps=3", "use trainer.max_epochs"),
        ("+trainer.max_time=00:00:01:00", "use trainer.max_epochs"),
        ("+trainer.limit_val_batches=0", "use dataset.val_size"),
        ("+trainer.limit_train_batches=1", "use dataset.train_size"),
        ("+trainer.overfit_batches=1", "use dataset.train_size"),
        ("+trainer.fast_dev_run=true", "use scale=debug"),
        ("+trainer.barebones=true", "parts that a run needs"),
        ("+trainer.nonsense=1", "Lightning refuses"),
        ("seed=4294967296", "4294967295 or smaller"),
        ("lr=-1", "lr must be positive"),
    ],
)
def test_a_refused_option_leaves_no_folder(configure, tmp_path, option, message):
    with pytest.raises(InputError, match=message):
        run(configure(*CLOUDS, option))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "option",
    [
        "trainer.precision=64-true",
        "+trainer.detect_anomaly=true",
        "+trainer.limit_val_batches=1.0",
        "+trainer.gradient_clip_algorithm=value",
        "seed=4294967295",
    ],
)
def test_an_option_that_works(configure, option):
    assert run(configure(*CLOUDS, option)).epochs == 2


def test_accumulated_gradients_count_all_samples(configure):
    """Three batches of an epoch in two steps: the rate is that of the samples."""
    record = run(configure(*CLOUDS, "dataset.train_size=60", "+trainer.accumulate_grad_batches=2"))
    assert record.steps == 4
    seconds = sum(record.curve["train_seconds"])
    assert record.samples_per_second == pytest.approx(2 * 60 / seconds, rel=0.01)
