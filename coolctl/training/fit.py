"""Distil the labels into a small MLP with every scaling folded into its first and last layer."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from coolctl.control.policy import F32, HIGH, LOW

HIDDEN = (96, 64)
EPOCHS = 400


def fit(x: F32, y: F32, seed: int) -> MLPRegressor:
    """A trained regressor that takes raw features and gives raw outputs."""
    centre, half = (HIGH + LOW).astype(float) / 2.0, (HIGH - LOW).astype(float) / 2.0
    mean, spread = y.mean(axis=0).astype(float), np.maximum(y.std(axis=0).astype(float), 1e-6)
    model = MLPRegressor(
        hidden_layer_sizes=HIDDEN, activation="relu", solver="adam", alpha=1e-5, learning_rate_init=2e-3,
        batch_size=256, max_iter=EPOCHS, tol=1e-6, n_iter_no_change=30, random_state=seed,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((x - centre) / half, (y - mean) / spread)
    # Fold the scalings in: W1 (x − c)/h + b1 and s (W3 a + b3) + m.
    first, last = model.coefs_[0] / half[:, None], model.coefs_[-1] * spread
    model.intercepts_[0] = model.intercepts_[0] - centre @ first
    model.coefs_[0] = first
    model.intercepts_[-1] = model.intercepts_[-1] * spread + mean
    model.coefs_[-1] = last
    return model
