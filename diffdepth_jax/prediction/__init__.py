"""Prediction: the estimator, and the photos and videos that it turns into files."""
