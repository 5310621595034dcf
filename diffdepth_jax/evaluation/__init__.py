"""Evaluation: protocols, metrics, predictors to score, reports and submissions."""
