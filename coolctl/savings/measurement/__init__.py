"""Measurement and verification on a plant that runs: estimators, intervals, key figures, the report."""
