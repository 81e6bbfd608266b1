"""Networks whose outputs tell their weights apart."""

import numpy as np


def randomize(model, seed=0):
    """Weights and statistics of which none is like another, of a size that keeps outputs moderate."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if "variance" in weight.path or "gamma" in weight.path:
            weight.assign(random.uniform(0.5, 1.0, weight.shape))
        elif "kernel" not in weight.path:
            weight.assign(random.normal(0, 0.1, weight.shape))
    return model
