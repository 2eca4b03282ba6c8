"""Order of samples: everything once, a function of seed and epoch, and nothing dropped in
evaluation.
"""

import lightning as L
import pytest
import torch

from gigp.errors import InputError
from gigp.lab.data.sampler import BatchSampler
from gigp.lab.data.splits import take
from gigp.lab.molecules.qm9 import QM9
from tests.conftest import DATA


@pytest.mark.parametrize(("num", "size"), [(100, 25), (103, 25), (7, 25), (1, 1)])
def test_evaluation_sees_every_sample_once_in_order(num, size):
    sampler = BatchSampler(torch.arange(num), size)
    batches = [batch.host for batch in sampler]
    assert torch.equal(torch.cat(batches), torch.arange(num))
    assert len(batches) == len(sampler) == -(-num // size)


def test_training_drops_only_the_incomplete_batch():
    batches = [batch.host for batch in BatchSampler(torch.arange(103), 25, shuffle=True)]
    assert [len(b) for b in batches] == [25] * 4
    assert torch.cat(batches).unique().numel() == 100
    small = BatchSampler(torch.arange(7), 25, shuffle=True)
    assert [len(batch.host) for batch in small] == [7]


def test_training_reaches_every_sample_over_epochs():
    sampler = BatchSampler(torch.arange(103), 25, shuffle=True)
    seen = set()
    for epoch in range(5):
        sampler.set_epoch(epoch)
        seen |= {i for batch in sampler for i in batch.host.tolist()}
    assert seen == set(range(103))


def order(seed: int, epoch: int, num: int = 50) -> list[int]:
    sampler = BatchSampler(torch.arange(num), 10, shuffle=True, seed=seed)
    sampler.set_epoch(epoch)
    return [i for batch in sampler for i in batch.host.tolist()]


def test_order_is_a_function_of_seed_and_epoch():
    first = order(0, 3)
    torch.manual_seed(123)
    assert order(0, 3) == first  # whatever the global generator has been through
    assert len({tuple(order(s, e)) for s in range(3) for e in range(3)}) == 9


def test_order_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    order(0, 1)
    assert torch.equal(torch.get_rng_state(), state)


class Watcher(L.LightningModule):
    """Trains nothing; notes which molecules come, by their r2, and how they lie."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[int, list[float]] = {}
        self.clouds: dict[str, list[torch.Tensor]] = {"train": [], "val": [], "test": []}
        self.values: dict[str, list[float]] = {"val": [], "test": []}

    def training_step(self, batch):
        self.seen.setdefault(self.current_epoch, []).extend(batch[1].flatten().tolist())
        self.clouds["train"].append(batch[0].pos)
        return self.weight * 0

    def validation_step(self, batch):
        self.note("val", batch)

    def test_step(self, batch):
        self.note("test", batch)

    def note(self, part, batch):
        self.clouds[part].append(batch[0].pos)
        self.values[part].extend(batch[1].flatten().tolist())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(folder, epochs: int) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        default_root_dir=folder,
        num_sanity_val_steps=1,
        **quiet,
    )


@pytest.fixture
def small(qm9) -> QM9:
    """43 training molecules in batches of 10, and parts that no batch size divides."""
    sizes = {"train_size": 43, "val_size": 7, "test_size": 11}
    data = QM9(
        root=DATA, cache=DATA, target="r2", batch_size=10, eval_batch_size=4, seed=5, **sizes
    )
    data.setup()
    return data


def expected(data: QM9, epoch: int) -> list[float]:
    return data.train_targets()[order(5, epoch, num=43)].flatten().tolist()


@pytest.mark.filterwarnings("ignore")
def test_lightning_shuffles_by_epoch_also_after_a_resume(small, tmp_path):
    """Lightning finds `set_epoch` on the sampler, and a fresh process that resumes goes on with the
    next order.
    """
    watcher = Watcher()
    first = trainer(tmp_path, 2)
    first.fit(watcher, datamodule=small)
    assert watcher.seen == {epoch: expected(small, epoch) for epoch in range(2)}
    first.save_checkpoint(tmp_path / "x.ckpt")
    resumed = Watcher()
    trainer(tmp_path, 4).fit(
        resumed, datamodule=small, ckpt_path=tmp_path / "x.ckpt", weights_only=True
    )
    assert resumed.seen == {epoch: expected(small, epoch) for epoch in (2, 3)}


@pytest.mark.filterwarnings("ignore")
def test_lightning_evaluates_every_sample_unmoved(small, tmp_path):
    """Also the incomplete batches; augmentation is for training only."""
    watcher = Watcher()
    runner = trainer(tmp_path, 1)
    runner.fit(watcher, datamodule=small)
    assert len(watcher.clouds["val"]) == 3  # a batch to begin with, and both after the epoch
    runner.test(watcher, datamodule=small, verbose=False)
    for part, skip in (("val", 1), ("test", 0)):
        indices = small.indices[part]
        batches = [small.get_batch(i)[0].pos for i in indices.split(4)]
        assert len(watcher.clouds[part][skip:]) == len(batches)
        assert all(
            torch.equal(a, b) for a, b in zip(watcher.clouds[part][skip:], batches, strict=True)
        )
        assert watcher.values[part][4 * skip :] == small.values[indices].flatten().tolist()
    batch = small.indices["train"][torch.tensor(order(5, 0, num=43)[:10])]
    assert (watcher.clouds["train"][0] - small.get_batch(batch)[0].pos).abs().max() > 0.5


@pytest.mark.filterwarnings("ignore")
def test_augmentation_can_be_switched_off(small, tmp_path):
    small.augment = False
    watcher = Watcher()
    trainer(tmp_path, 1).fit(watcher, datamodule=small)
    batch = small.indices["train"][torch.tensor(order(5, 0, num=43)[:10])]
    assert torch.equal(watcher.clouds["train"][0], small.get_batch(batch)[0].pos)


def test_a_batch_is_known_on_the_host_and_on_the_device():
    """The order of an epoch is copied once; batches on the device are views of it."""
    batches = list(BatchSampler(torch.arange(100, 140), 10, shuffle=True, device="meta"))
    assert all(batch.device.is_meta and len(batch.device) == 10 for batch in batches)
    on_host = list(BatchSampler(torch.arange(100, 140), 10, shuffle=True))
    assert all(torch.equal(batch.host, batch.device) for batch in on_host)
    storages = {batch.device.untyped_storage().data_ptr() for batch in on_host}
    assert len(storages) == 1


def test_data_move_once_and_are_checked_before(small):
    small.move_to(torch.device("meta"))
    there = [name for name in small.arrays if getattr(small, name) is not None]
    assert len(there) >= 6
    assert all(getattr(small, name).is_meta for name in there)
    assert small.device.type == "meta"
    moved = [getattr(small, name) for name in there]
    small.move_to(torch.device("meta"))
    assert all(getattr(small, name) is array for name, array in zip(there, moved, strict=True))
    cloud, target = small.get_batch(torch.arange(5), torch.arange(5).to("meta"))
    assert cloud.pos.is_meta
    assert target.is_meta
    assert cloud.sizes.counts.tolist() == small.counts[:5].tolist()


def test_data_with_a_number_that_is_not_finite_are_not_moved(small):
    small.positions[small.indices["train"][3], 0, 1] = torch.nan
    with pytest.raises(InputError, match=r"position 1 of point 0 in sample \d+ is nan"):
        small.move_to(torch.device("meta"))


def test_one_shape_for_all_batches(small):
    """Bounds hold for any batch; a batch that exceeds the likely one gets the largest shape."""
    small.fixed_shapes = True
    batches = [small.get_batch(i)[0] for i in small.indices["train"].split(10)[:4]]
    assert len({(b.pos.shape, b.sizes.points, b.sizes.pairs) for b in batches}) == 1
    for batch in batches:
        assert batch.mask.sum() <= batch.sizes.points
        assert batch.mask.sum(1).square().sum() <= batch.sizes.pairs
        assert not batch.sizes.exact
    largest = torch.from_numpy(small.counts).topk(10).indices
    crowded = small.get_batch(largest)[0]
    assert crowded.mask.sum() <= crowded.sizes.points
    assert crowded.mask.sum(1).square().sum() <= crowded.sizes.pairs


def test_loaders(qm9):
    loaders = [qm9.train_dataloader(), qm9.val_dataloader(), qm9.test_dataloader()]
    assert [len(x) for x in loaders] == [100_000 // 75, -(-17_748 // 250), -(-13_083 // 250)]
    cloud, target = next(iter(loaders[2]))
    assert cloud.pos.shape[0] == len(target) == 250


def test_train_clouds_cover_the_training_set(digits):
    clouds = list(digits.train_clouds(700))
    assert sum(len(c.feat) for c in clouds) == 3000


@pytest.mark.parametrize("size", [0, -1, 6])
def test_sizes_that_a_part_does_not_have(size):
    parts = {part: torch.arange(5) for part in ("train", "val", "test")}
    with pytest.raises(
        InputError, match=rf"val_size={size}: .*has 5 samples.*from 1 to 5, or null"
    ):
        take(parts, {"train": 5, "val": size, "test": None})
