"""kill -9, anywhere: the same command goes on, and what comes of it is what would have come
without.
"""

import json
import random

import pytest
from omegaconf import OmegaConf

from gigp.lab.training.run import run
from tests.lab.faults.harness import REFUSED, Killable, assert_same_run, die_at, finish, left
from tests.programs import FORK


def calls(log) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def kill_and_go_on(cfg, whole, event: int, log) -> str | None:
    """Kill a run at an event, then finish it; the name of the event, None where the run was over
    before it.
    """
    killed = Killable(cfg, die_at, (event, log))
    if killed.wait() == 0:
        return None
    assert killed.process.exitcode == -9, killed.says
    finish(cfg)
    assert_same_run(cfg, whole)
    return calls(log)[-1]


@pytest.mark.slow
def test_killed_at_a_change_of_the_disk(clouds, tmp_path):
    """One of the moments of the test below."""
    finish(whole := clouds("whole"))
    assert kill_and_go_on(clouds("killed"), whole, 9, tmp_path / "log9")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_before_every_change_of_the_disk(clouds, tmp_path):
    """All of them: configuration, history, half of a checkpoint, a whole one without its name,
    record, end mark.
    """
    finish(whole := clouds("whole"))
    events = []
    while event := kill_and_go_on(
        clouds(f"killed{len(events)}"), whole, len(events), tmp_path / f"log{len(events)}"
    ):
        events.append(event)
    for part in (
        "config.yaml",
        "metrics.csv",
        "best.ckpt",
        "last.ckpt",
        "summary.json",
        "touch done",
        "half of a",
    ):
        assert any(part in event for event in events), part
    assert len(events) >= 20
    print(f"{len(events)} kills: {events}")


def overwrite_killed(cfg, old, event: int, log) -> bool:
    """Kill the successor of a finished run at an event; whether it came to the event. A record is
    there always.
    """
    folder = left(cfg)
    before = folder.record_path.read_text()
    killed = Killable(cfg, die_at, (event, log))
    if killed.wait() == 0:
        return False
    assert killed.process.exitcode == -9, killed.says
    records = [
        path.read_text()
        for path in (folder.record_path, folder.replaced / "summary.json")
        if path.exists()
    ]
    assert records
    if not folder.last.exists() or (
        folder.record_path.exists() and folder.record_path.read_text() == before
    ):
        # the old run is the one that counts: the command that made it finds it finished
        assert before in records
        finish(old)
        assert folder.record_path.read_text() == before
        assert folder.best.exists()
    else:  # the new one goes on, also where it is not said again that it may overwrite
        finish(OmegaConf.merge(cfg, {"overwrite": False}))
    return True


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_overwriting_loses_no_record_wherever_it_is_killed(clouds, tmp_path):
    finish(new := clouds("new", "lr=0.01"))
    for event in range(200):
        finish(old := clouds(f"it{event}"))
        again = clouds(f"it{event}", "lr=0.01", "overwrite=true")
        if not overwrite_killed(again, old, event, tmp_path / f"log{event}"):
            break
        finish(again)
        assert_same_run(again, new)
    assert event >= 20


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_random_moments(molecules, clouds):
    """Again and again until 20 kills have hit a run at work; the best epoch is early, so that the
    last checkpoint is far from it.
    """
    diverging = (
        "trainer.max_epochs=16",
        "dataset.train_size=300",
        "lr=0.3",
        "trainer.gradient_clip_val=1",
    )
    moments, kills, runs = random.Random(0), 0, 0
    for make, most, overrides in ((clouds, 3, diverging), (molecules, 6, ())):
        finish(whole := make(f"whole{runs}", *overrides))
        record = json.loads(left(whole).record_path.read_text())
        assert make is molecules or record["best_epoch"] < record["epochs"] / 2
        begun = kills
        while kills < begun + 20:
            cfg = make(f"it{runs}", *overrides)
            while Killable(cfg).kill(moments.uniform(0.2, most)):
                kills += 1
            finish(cfg)
            assert_same_run(cfg, whole)
            runs += 1
    print(f"{kills} kills of {runs} runs")


def _together(barrier) -> None:
    barrier.wait(60)


@pytest.mark.slow
def test_two_processes_for_one_run(clouds):
    """One does it, the other reports that and ends."""
    finish(whole := clouds("whole"))
    cfg, barrier = clouds("it", "trainer.max_epochs=2"), FORK.Barrier(2)
    pair = [Killable(cfg, _together, barrier) for _ in range(2)]
    assert sorted(process.wait() for process in pair) == [0, REFUSED], pair[0].says
    assert "another process is at work" in pair[0].says
    assert_same_run(cfg, whole)
    assert run(clouds("it"))["epochs"] == 2
