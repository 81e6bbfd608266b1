"""The examples of the documentation do what it says of them."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.large
@pytest.mark.weights
def test_fine_tuning_is_ahead_of_training_from_scratch(resnet20_file, tmp_path):
    curves = example("finetune").main(str(resnet20_file), tmp_path / "curves.png", epochs=4)
    tuned, scratch = curves["from CIFAR-10 weights"], curves["from scratch"]
    assert max(tuned) >= 0.98
    assert all(a > b for a, b in zip(tuned[:2], scratch[:2]))
    assert (tmp_path / "curves.png").stat().st_size > 10_000
