"""The three policies learn digits equally well."""

import dataclasses

import keras
import pytest

from keras_sd import applications, data, training

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


@pytest.mark.large
def test_policies_end_within_a_hundredth(tmp_path):
    """By the last weights on the 360 test images, of which three make a hundredth; the seed is the same."""
    digits = data.load("digits")
    config = dataclasses.replace(training.resolve("digits"), epochs=12, batch_size=64)
    found = {}
    for policy in POLICIES:
        keras.config.set_dtype_policy(policy)
        keras.utils.set_random_seed(config.seed)
        model = applications.ResNet(depth=8, input_shape=(8, 8, 1), survival_probability=0.8, seed=config.seed)
        folder = training.RunFolder.create(tmp_path / policy)
        results = training.train(model, digits, config, folder)
        found[policy] = results["test_accuracy_final"]
    print(found)
    assert min(found.values()) > 0.95
    assert max(found.values()) - min(found.values()) <= 0.01
