"""Wrong objects: what a public function cannot take is refused under the name of its argument."""

import pathlib
from types import SimpleNamespace

import numpy as np
import pytest

import keras_sd
from keras_sd import analysis, applications, schedules, studies, training, tuning, weights
from keras_sd.models import specs
from keras_sd.training.averaging import averaged, recalibrate

OBJECTS = [None, "model", 3, [1, 2], np.zeros(3), SimpleNamespace(name="model", layers=[]), keras_sd]
OF_ONE_MODEL = {
    "freeze": keras_sd.freeze,
    "unfreeze": keras_sd.unfreeze,
    "feature_pyramid": keras_sd.feature_pyramid,
    "replace_head": lambda model: keras_sd.replace_head(model, 3),
    "blocks": analysis.blocks,
    "SubNetworks": analysis.SubNetworks,
    "GradientProbe": lambda model: analysis.GradientProbe(model, [0], [0]),
    "PathGradients": analysis.PathGradients,
    "signals": lambda model: analysis.signals(model, [0]),
    "reuse_map": analysis.reuse_map,
    "flops": analysis.flops,
    "canonical": weights.canonical,
    "load": lambda model: weights.load(model, "there_is_none.safetensors"),
    "save": lambda model: weights.save(model, "never_written.safetensors"),
    "recalibrate": lambda model: recalibrate(model, []),
    "averaged": lambda model: averaged(model).__enter__(),
    "evaluate": lambda model: training.evaluate(model, None),
    "compile_model": lambda model: training.compile_model(model, training.resolve("digits"), 1),
    "train": lambda model: training.train(model, None, None, None),
}


@pytest.mark.parametrize("function", OF_ONE_MODEL.values(), ids=OF_ONE_MODEL)
def test_what_is_no_model_is_refused_by_name(function):
    for thing in OBJECTS:
        with pytest.raises(TypeError, match=r"^`model` must be a .*Keras model.* Received: model="):
            function(thing)
    assert not pathlib.Path("never_written.safetensors").exists()


@pytest.fixture(scope="module")
def model():
    return applications.MLP(input_shape=(2, 2, 1), widths=(3,))


OTHERS = {
    "source": lambda thing, model: weights.copy(thing, model),
    "target": lambda thing, model: weights.copy(model, thing),
    "block": lambda thing, model: analysis.reuse(thing),
    "networks": lambda thing, model: analysis.deletions(thing),
    "first": lambda thing, model: analysis.swapped(thing, thing).__enter__(),
    "spec": lambda thing, model: specs.override(thing),
    "config": lambda thing, model: training.train(model, None, thing, None),
    "folder": lambda thing, model: training.train(model, None, training.resolve("digits"), thing),
    "hypermodel": lambda thing, model: tuning.Search(thing),
    "search": lambda thing, model: tuning.write_report(thing),
    "options": lambda thing, model: studies.run("speed", thing),
}


@pytest.mark.parametrize("argument", OTHERS)
def test_other_objects_are_refused_by_name(argument, model):
    for thing in OBJECTS:
        with pytest.raises(TypeError, match=rf"^`{argument}` must be .* Received: {argument}="):
            OTHERS[argument](thing, model)


@pytest.mark.parametrize("networks", [None, "networks"])
def test_networks_are_subnetworks(networks):
    for call in (
        lambda: analysis.random_deletions(networks, 1, 1),
        lambda: analysis.expectation(networks, np.zeros(3), [0.5]),
    ):
        with pytest.raises(TypeError, match="`networks` must be `SubNetworks`"):
            call()


VALUES = {
    "adapt": lambda value, model: weights.copy(model, model, adapt=value),
    "adapt of load": lambda value, model: weights.load(model, "there_is_none.h5", adapt=value),
    "batch_norm": lambda value, model: keras_sd.freeze(model, batch_norm=value),
    "expected": lambda value, model: analysis.flops(model, expected=value),
    "bottleneck": lambda value, model: applications.DenseNet(depth=10, bottleneck=value),
    "bottleneck of blocks": lambda value, model: applications.DenseNet(blocks=(1,), bottleneck=value),
    "rescale": lambda value, model: applications.ResNet(depth=8, rescale=value),
    "include_top": lambda value, model: applications.ResNet(depth=8, include_top=value),
    "stacked": lambda value, model: applications.ResNet(depth=8, stacked=value),
    "use_bias": lambda value, model: applications.ResNet(depth=8, use_bias=value),
    "memory_efficient": lambda value, model: applications.ResNet(depth=8, memory_efficient=value),
}


@pytest.mark.parametrize("argument", VALUES)
def test_a_flag_is_true_or_false(argument, model):
    for value in ("yes", 0.5, None, 1, np.float32(0.5), np.array([True])):
        with pytest.raises((ValueError, TypeError), match=rf"`{argument.split()[0]}` must be .*True(,| or) False"):
            VALUES[argument](value, model)


HUGE = {
    "depth": [
        lambda n: applications.ResNet(depth=6 * n + 2),
        lambda n: applications.PlainNet(depth=6 * n + 2),
        lambda n: applications.DenseNet(depth=6 * n + 4),
        lambda n: applications.WideResNet(depth=6 * n + 4),
        analysis.all_gates,
    ],
    "blocks": [
        lambda n: applications.ResNet(blocks=(n, 1, 1)),
        lambda n: applications.DenseNet121(blocks=(1, n), weights=None),
        lambda n: applications.PlainNet(blocks=(9_000, 9_000, 1)),
    ],
    "filters": [lambda n: applications.ResNet(depth=8, filters=(n, 4, 4))],
    "stem_filters": [lambda n: applications.ResNet(depth=8, stem_filters=n)],
    "growth_rate": [lambda n: applications.DenseNet(depth=10, growth_rate=n)],
    "widths": [lambda n: applications.MLP(widths=(n,)), lambda n: applications.MLP(widths=(1,) * 20_000)],
    "widen_factor": [lambda n: applications.WideResNet(depth=10, widen_factor=n)],
}


@pytest.mark.parametrize("argument", HUGE)
def test_numbers_beyond_any_machine_are_refused(argument):
    for call in HUGE[argument]:
        with pytest.raises(ValueError, match=f"`{argument}` must be"):
            call(2**40)


@pytest.mark.parametrize("value", [True, "0.1", None, float("nan"), float("inf"), -1])
def test_numbers_of_specs_are_finite_numbers(value):
    for argument, make in {
        "epsilon": lambda v: specs.ResNetSpec(blocks=(1,), filters=(4,), epsilon=v),
        "momentum": lambda v: specs.ResNetSpec(blocks=(1,), filters=(4,), momentum=v),
        "dropout_rate": lambda v: specs.MLPSpec(dropout_rate=v),
        "compression": lambda v: specs.DenseNetSpec(blocks=(1,), growth_rate=4, compression=v),
        "survival_probability": lambda v: specs.ResNetSpec(blocks=(1,), filters=(4,), survival_probability=v),
    }.items():
        make(0.5)
        with pytest.raises(ValueError, match=f"`{argument}` must be"):
            make(value)


@pytest.mark.parametrize("name", [None, 3, "ResNet5", ["ResNet20"]])
def test_names_of_models(name):
    for function in (applications.find, applications.get_model, applications.model_card):
        with pytest.raises(ValueError, match=r"^`name` must be "):
            function(name)
    with pytest.raises(ValueError, match="survival_probability"):
        schedules.check_probability(name)
