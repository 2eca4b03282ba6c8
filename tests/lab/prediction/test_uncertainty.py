"""How well a spread ranks errors, and where that stands."""

import math

import pytest
import torch

import gigp
from gigp.errors import InputError
from gigp.lab.prediction.models import MODELS
from gigp.lab.prediction.uncertainty import (
    describe,
    measure_ranking,
    put_in_card,
    rank_errors,
    table_of_rankings,
)

SEEDS = [f"qm9_backbone_medium/seed{seed}" for seed in (0, 1)]


def test_ranks_by_hand():
    errors = torch.tensor([-1.0, 2.0, -4.0, 3.0, torch.nan]).double()
    perfect = rank_errors(errors, torch.tensor([0.1, 0.2, 0.4, 0.3, 9.0]).double())
    assert perfect.error == 2.5
    assert perfect.certain == 1.5
    assert perfect.spread == pytest.approx(0.25)
    assert perfect.spearman == pytest.approx(1)
    wrong = rank_errors(errors, torch.tensor([0.4, 0.3, 0.1, 0.2, 0.0]).double())
    assert (wrong.certain, wrong.spearman) == (3.5, pytest.approx(-1))


def test_ranking_of_two_models(qm9, monkeypatch):
    """Of the molecules of the models' own test set; the data set is read once for all tests."""
    predictor = gigp.load(SEEDS, check=False, extrapolate=True)
    for model in predictor.models:
        monkeypatch.setattr(model, "data", qm9)
    found = measure_ranking(predictor, 6)
    assert [*found] == [target.name for target in qm9.targets]
    homo = found["homo"]
    assert 5 < homo.error < 300
    assert 0 < homo.spread < 300
    assert math.isfinite(homo.spearman)
    lines = table_of_rankings(predictor, found)
    assert lines[4].startswith(f"| homo | meV | {homo.error:.4g} | {homo.certain:.4g} | ")
    said = describe(predictor, 6)
    assert f"The mean of `{SEEDS[0]}` and `{SEEDS[1]}` on the first 6 molecules" in said
    for num, message in ((1, "1 molecules: the test set has 13,083"), (10**6, "choose from 2")):
        with pytest.raises(InputError, match=message):
            measure_ranking(predictor, num)


def test_what_has_no_ranking():
    with pytest.raises(InputError, match="one model has no spread"):
        measure_ranking(gigp.load("qm9"))
    with pytest.raises(InputError, match="rotmnist takes images of 28 x 28 pixels; errors of mol"):
        measure_ranking(gigp.load("rotmnist", rotations=2))


def test_a_card_gets_one_section(tmp_path):
    (card := tmp_path / "README.md").write_text((MODELS / "qm9" / "README.md").read_text())
    put_in_card(card, ["first"])
    put_in_card(card, ["second", "lines"])
    text = card.read_text()
    assert "first" not in text
    assert text.count("## Uncertainty\n\nsecond\nlines\n\n## Limits\n") == 1
    assert text.index("## Test errors") < text.index("## Uncertainty") < text.index("## Use")
    with pytest.raises(InputError, match="is not the card of a model"):
        put_in_card(tmp_path / "nothing.md", ["first"])
