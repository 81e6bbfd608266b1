"""Forecasts of a time series by a deep causal convolutional network, a `StochasticDepthStack`.

python docs/examples/time_series.py
"""

import keras
import numpy as np
from keras import layers

from keras_sd.layers import StochasticDepthStack
from keras_sd.schedules import linear

PERIOD = 24  # hours


def series(length, seed=0):
    """Return hourly values with a daily and a weekly period, and noise that carries over from hour to hour."""
    random, t = np.random.default_rng(seed), np.arange(length)
    noise = np.zeros(length)
    for i in range(1, length):
        noise[i] = 0.8 * noise[i - 1] + random.normal(0, 0.1)
    return (np.sin(2 * np.pi * t / PERIOD) + 0.5 * np.sin(2 * np.pi * t / (7 * PERIOD)) + noise).astype("float32")


def windows(values, history, horizon):
    """Return pairs: `history` values, and the value `horizon` steps after the last of them."""
    past = np.lib.stride_tricks.sliding_window_view(values, history)[:-horizon]
    return past[..., None], values[history + horizon - 1 :, None]


def forecaster(history, depth, filters=24, survival_probability=0.5):
    """Return a network of `depth` causal residual blocks, the later ones dropped more often."""
    inputs = keras.Input((history, 1))
    x = layers.Conv1D(filters, 1)(inputs)
    branch = keras.Sequential(
        [
            layers.LayerNormalization(),
            layers.Conv1D(filters, 7, padding="causal", activation="relu"),
            layers.Conv1D(filters, 1),
        ]
    )
    x = StochasticDepthStack(branch, depth, linear(depth, survival_probability), activation=None)(x)
    x = layers.LayerNormalization()(x[:, -1])
    return keras.Model(inputs, layers.Dense(1)(x))


def main(length=3000, history=72, horizon=6, depth=12, epochs=8):
    """Train on the first four fifths, print errors on the rest, and return those of the network and the baseline."""
    keras.utils.set_random_seed(0)
    x, y = windows(series(length), history, horizon)
    split = len(x) * 4 // 5
    model = forecaster(history, depth)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, epochs * -(-split // 64))
    model.compile(keras.optimizers.Adam(rate), "mse", metrics=["mae"])
    model.fit(x[:split], y[:split], batch_size=64, epochs=epochs, verbose=0)
    gap = split + history  # test windows share no value with the training windows' past
    network = model.evaluate(x[gap:], y[gap:], verbose=0)[1]
    day_before = x[gap:, horizon - 1 - PERIOD]
    baseline = float(np.abs(day_before - y[gap:]).mean())
    print(f"mean absolute error {horizon} hours ahead: value of the day before {baseline:.3f}, network {network:.3f}")
    return network, baseline


if __name__ == "__main__":
    main()
