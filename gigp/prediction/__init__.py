"""Predictions of a trained model for molecules and images from files; see docs/using_models.md."""

from gigp.errors import needs_extra

with needs_extra("train"):
    from gigp.prediction.export import export_model
    from gigp.prediction.predictor import Predictor
    from gigp.prediction.table import predict

__all__ = ["Predictor", "export_model", "predict"]
