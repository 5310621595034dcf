"""Prediction: the estimator, and photos and videos through it into files."""
