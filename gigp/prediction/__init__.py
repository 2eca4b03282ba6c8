"""Predictions of a trained model for molecules and images from files; see docs/using_models.md."""

from gigp.prediction.predictor import Predictor, predict

__all__ = ["Predictor", "predict"]
