"""Losses, units, schedule, and frozen parameters."""

import pytest
import torch

from gigp.backbones.lieconv import LieResNet
from gigp.groups import T
from gigp.lab.model import PointCloudModel
from gigp.lab.training.metrics import SampleMean
from gigp.lab.training.module import Classification, Regression, cosine
from gigp.pointcloud import PointCloud
from gigp.pools.base import MeanPool


def model(out=1) -> PointCloudModel:
    return PointCloudModel(LieResNet(2, T(3), width=8, blocks=1), MeanPool(out), out)


def cloud(batch=6) -> PointCloud:
    return PointCloud(
        torch.randn(batch, 5, 3), torch.randn(batch, 5, 2), torch.ones(batch, 5, dtype=torch.bool)
    )


def test_predictions_and_errors_are_physical():
    mean, std = torch.tensor([-6.5, 100.0]), torch.tensor([0.6, 20.0])
    task = Regression(model(2), {"homo": "meV", "r2": "bohr^2"}, mean, std, [1000.0, 1.0])
    output = task.model(cloud())
    torch.testing.assert_close(task(cloud_ := cloud()), task.model(cloud_) * std + mean)
    target = torch.randn(6, 2) * std + mean
    torch.testing.assert_close(
        task.loss(output, target), (output - (target - mean) / std).abs().mean()
    )
    metric = task.make_metrics()
    for part in (slice(0, 4), slice(4, 6)):  # batches of different size weigh by their samples
        metric.update(task.denormalize(output)[part], target[part])
    errors = (task.denormalize(output) - target).abs().mean(0)
    scores = task.metric_dict(metric.compute())
    assert float(scores["homo"]) == pytest.approx(1000 * float(errors[0]), rel=1e-5)
    assert float(scores["r2"]) == pytest.approx(float(errors[1]), rel=1e-5)


def test_loss_is_the_mean_over_samples_and_keeps_nan():
    loss = SampleMean()
    loss.update(torch.tensor(1.0), 3)
    loss.update(torch.tensor(2.0), 1)
    assert float(loss.compute()) == pytest.approx(1.25)
    loss.update(torch.tensor(torch.nan), 1)
    assert loss.compute().isnan()


def test_error_rate_is_in_percent():
    task = Classification(model(4), {"error": "%"})
    metric = task.make_metrics()
    metric.update(torch.eye(4), torch.tensor([0, 1, 2, 0]))
    assert float(task.metric_dict(metric.compute())["error"]) == pytest.approx(25)


def test_schedule():
    assert cosine(0, 0) == 1
    assert cosine(0, 0.1) == 0
    assert cosine(0.05, 0.1) == pytest.approx(0.5 * cosine(0.05, 0))
    assert cosine(0.5, 0.1) == pytest.approx(0.5)
    assert cosine(1, 0.1) == pytest.approx(0)
    assert cosine(1.01, 0) == 0


def test_frozen_backbone_keeps_its_batch_norm():
    task = Regression(
        model(), {"x": ""}, torch.zeros(1), torch.ones(1), [1.0], freeze_backbone=True
    )
    before = {k: v.clone() for k, v in task.model.backbone.state_dict().items()}
    task.train()
    assert task.model.training
    assert not task.model.backbone.training
    task.model(cloud()).sum().backward()
    for key, value in task.model.backbone.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(p.grad is None for p in task.model.backbone.parameters())
    assert task.model.head.weight.grad is not None
