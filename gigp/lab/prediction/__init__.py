"""Predictions of a trained model for molecules and images from files; see docs/using_models.md."""

from gigp.errors import needs_extra

with needs_extra("predict"):
    from gigp.lab.prediction.export import export_model
    from gigp.lab.prediction.predictor import Predictor
    from gigp.lab.prediction.table import predict

__all__ = ["Predictor", "export_model", "predict"]
