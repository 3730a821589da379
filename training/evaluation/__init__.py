"""Accuracy, calibration, novelty and the certified band of a trained model."""
