"""Order of samples: everything once, a function of seed and epoch, and nothing dropped in evaluation."""

import pytest
import torch

from gigp.datasets.loader import BatchSampler


@pytest.mark.parametrize(("num", "size"), [(100, 25), (103, 25), (7, 25), (1, 1)])
def test_evaluation_sees_every_sample_once_in_order(num, size):
    batches = list(BatchSampler(num, size))
    assert torch.equal(torch.cat(batches), torch.arange(num))
    assert len(batches) == len(BatchSampler(num, size)) == -(-num // size)


def test_training_drops_only_the_incomplete_batch():
    batches = list(BatchSampler(103, 25, shuffle=True))
    assert [len(b) for b in batches] == [25] * 4
    assert torch.cat(batches).unique().numel() == 100
    assert [len(b) for b in BatchSampler(7, 25, shuffle=True)] == [7]


def test_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        sampler = BatchSampler(50, 10, shuffle=True, seed=seed)
        sampler.set_epoch(epoch)
        return torch.cat(list(sampler)).tolist()

    assert order(0, 3) == order(0, 3)
    assert len({tuple(order(s, e)) for s in range(3) for e in range(3)}) == 9


def test_loaders(qm9):
    loaders = [qm9.train_dataloader(), qm9.val_dataloader(), qm9.test_dataloader()]
    assert [len(x) for x in loaders] == [100_000 // 75, -(-17_748 // 250), -(-13_083 // 250)]
    cloud, target = next(iter(loaders[2]))
    assert cloud.pos.shape[0] == len(target) == 250


def test_train_clouds_cover_the_training_set(digits):
    clouds = list(digits.train_clouds(700))
    assert sum(len(c.feat) for c in clouds) == 3000
