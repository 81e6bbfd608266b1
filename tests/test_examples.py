"""The examples of the documentation do what it says of them."""

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers import ENGINES, run_python

from keras_sd.layers import StochasticDepthResidual

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_example_has_a_test():
    text = Path(__file__).read_text(encoding="utf-8")
    assert [path.stem for path in EXAMPLES.glob("*.py") if f'"{path.stem}"' not in text] == []


@pytest.mark.large
@pytest.mark.weights
def test_fine_tuning_is_ahead_of_training_from_scratch(resnet20_file, tmp_path):
    curves = example("finetune").main(str(resnet20_file), tmp_path / "curves.png", epochs=4)
    tuned, scratch = curves["from CIFAR-10 weights"], curves["from scratch"]
    assert max(tuned) >= 0.98
    assert all(a > b for a, b in zip(tuned[:2], scratch[:2]))
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_the_branch_of_the_vit_is_an_encoder_layer_without_its_shortcut():
    module = example("layerdrop_vit")
    branch = module.encoder_layer(tokens=4, width=8, heads=2)
    norm1, attention, norm2, up, down = [layer for layer in branch.layers if layer.weights]
    x = np.random.default_rng(0).normal(size=(2, 4, 8)).astype("float32")
    after = x + attention(norm1(x), norm1(x))
    np.testing.assert_allclose(x + branch(x), after + down(up(norm2(after))), rtol=1e-4, atol=1e-5)


@pytest.mark.large
def test_layerdrop_saves_time(capsys):
    saved = example("layerdrop_vit").main(steps=6)
    assert 0.25 < saved < 0.6  # half of the layers
    assert f"{saved:.0%} less" in capsys.readouterr().out


@pytest.mark.slow
def test_layerdrop_runs(capsys):
    example("layerdrop_vit").main(image_size=16, depth=2, width=8, heads=2, batch_size=2, steps=1)
    assert "2 encoder layers, width 8, 4 tokens" in capsys.readouterr().out


def test_layer_scale_starts_convnext_blocks_near_the_identity():
    module = example("convnext_blocks")
    small, unscaled = [module.branch(4, scale) for scale in (1e-6, 1.0)]
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 4)).astype("float32")
    assert 0 < np.abs(small(x)).max() < 1e-4 < np.abs(unscaled(x)).max()


@pytest.mark.large
def test_a_convnext_learns_digits():
    assert example("convnext_blocks").main() > 0.9


def test_a_convnext_drops_later_blocks_more_often():
    model = example("convnext_blocks").convnext((8, 8, 1), classes=10, blocks=(1, 1), filters=(4, 8))
    blocks = [layer for layer in model.layers if isinstance(layer, StochasticDepthResidual)]
    assert [block.survival_probability for block in blocks] == pytest.approx([0.9, 0.8])
    assert model.output_shape == (None, 10)


@pytest.mark.large
def test_a_wrapped_backbone_has_the_outputs_of_the_original_and_trains(capsys):
    assert example("wrapped_backbone").main(image_size=32) < 1e-5
    assert "10 blocks wrapped" in capsys.readouterr().out


@pytest.mark.slow
def test_a_wrapped_backbone_shares_the_weights_of_the_original():
    original = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=10)
    model = example("wrapped_backbone").with_stochastic_depth(original, survival_probability=0.5)
    blocks = [layer for layer in model.layers if isinstance(layer, StochasticDepthResidual)]
    assert [block.survival_probability for block in blocks] == pytest.approx([1 - i / 20 for i in range(1, 11)])
    assert {id(w) for w in model.weights} == {id(w) for w in original.weights}


def test_windows_of_a_series_precede_their_targets():
    past, target = example("time_series").windows(np.arange(20.0), history=5, horizon=3)
    np.testing.assert_array_equal(past[:, -1] + 3, target)
    assert past.shape == (13, 5, 1)
    assert target[-1] == 19


@pytest.mark.large
def test_a_forecast_beats_the_day_before():
    network, baseline = example("time_series").main()
    assert network < baseline


@pytest.mark.slow
def test_forecasts_run():
    assert np.isfinite(example("time_series").main(length=300, history=24, depth=2, epochs=1)).all()


@pytest.mark.slow
def test_a_custom_loop_runs():
    assert 0 <= example("custom_loop").main(depth=2, steps=2) <= 1


@pytest.mark.large
@pytest.mark.parametrize("engine", ENGINES)
def test_a_custom_loop_learns_on_each_engine(engine, tmp_path):
    run = run_python(
        f"import runpy; runpy.run_path({str(EXAMPLES / 'custom_loop.py')!r}, run_name='__main__')", tmp_path, engine
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout.split()[-1]) > 0.7


def test_schedules_have_the_depths_that_are_printed():
    compared = example("survival_schedules").compared(9)
    expected = {name: sum(p) for name, p in compared.items()}
    assert expected == pytest.approx(
        {"constant depth": 9, "linear, 0.8": 8, "linear, 0.5": 6.5, "uniform, 0.75": 6.75, "second half, 0.5": 6.5}
    )


@pytest.mark.large
def test_a_residual_network_learns_with_each_schedule(capsys):
    table = example("survival_schedules").main()
    assert min(accuracy for _, accuracy in table.values()) > 0.9
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(table)
