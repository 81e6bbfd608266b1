"""One small network of each form, and what an engine makes of it: run in a process for each engine.

python -c "import forms; forms.write(start, out)"
"""

import importlib.util
import json
from pathlib import Path

import keras
import numpy as np
from helpers import ENGINE, noise, printed, randomize

from keras_sd import applications, backend, data, weights
from keras_sd.training.callbacks import gated_blocks

SMALL = {"input_shape": (8, 8, 1), "classes": 10, "weights": None}
RESIDUAL = {**SMALL, "filters": (4, 8), "stem_filters": 4, "survival_probability": 0.5}
TIMM = {"stride_in": "middle", "epsilon": 1e-5}  # as the networks of PyTorch have them
FORMS = {
    "plain": ("PlainNet", {**SMALL, "blocks": (2, 1), "filters": (4, 8), "stem_filters": 4}),
    "option A": ("ResNet", {**RESIDUAL, "blocks": (1, 2), "stacked": False, "shortcut": "slice"}),
    "bottleneck": ("ResNet", {**RESIDUAL, "blocks": (1, 1), "block": "bottleneck", "shortcut": "projection", **TIMM}),
    "pre-activation": ("ResNet", {**RESIDUAL, "blocks": (1, 1), "block": "preactivation_bottleneck"}),
    "stack": ("ResNet", {**RESIDUAL, "blocks": (4, 1)}),
    "dense": ("DenseNet", {**SMALL, "blocks": (3, 2), "growth_rate": 4, "survival_probability": 0.5}),
}
X, LABELS = noise(6, 8, 8, 1), np.array([0, 3, 1, 9, 4, 4])
TH = "bottleneck"  # the form whose weights are written as PyTorch's, too, where it is installed


def new(form, **changes):
    name, arguments = FORMS[form]
    return applications.get_model(name, **{**arguments, **changes})


def outputs(model):
    return model.predict(X, verbose=0)


def write(start, out, run=None):
    """Do what tests compare with the models in a folder, and write it to another one.

    Args:
        start: Folder with a file `FORM.keras` for each form.
        out: New folder. `numbers.npz` has outputs, and loss and gradients of training; `after.npz` the outputs of the
            models with other weights, which are written in each format.
        run: Folder of a run to evaluate; `None`: none.
    """
    start, out = Path(start), Path(out)
    out.mkdir()
    numbers, after = {}, {}
    for form in FORMS:
        model = keras.saving.load_model(start / f"{form}.keras")
        numbers[f"{form}/outputs"] = outputs(model)
        for i, array in enumerate(loss_and_gradients(keras.saving.load_model(start / f"{form}.keras"))):
            numbers[f"{form}/{i}"] = array
        randomize(model, seed=1)
        after[form] = outputs(model)
        model.save(out / f"{form}.keras")
        model.save_weights(out / f"{form}.weights.h5")
        weights.save(model, out / f"{form}.safetensors")
        if form == TH and importlib.util.find_spec("torch"):
            _write_th(model, out / f"{form}.th")
    numbers["curve"] = curve(keras.saving.load_model(start / "stack.keras"))
    np.savez(out / "numbers.npz", **numbers)
    np.savez(out / "after.npz", **after)
    if run is not None:
        # Libraries may warn below it.
        (line,) = (line for line in printed("evaluate", run).splitlines() if line.startswith("test accuracy"))
        (out / "evaluate.json").write_text(json.dumps(line))


def at_constant_depth(model):
    for layer in gated_blocks(model):
        layer.survival_probabilities = (1.0,) * layer.num_blocks
    return model


def loss_and_gradients(model):
    """Of a training step in which all blocks survive: the loss, gradients of the images, and of all variables."""
    at_constant_depth(model)

    def loss(x):
        losses = keras.losses.sparse_categorical_crossentropy(LABELS, model(x, training=True))
        return keras.ops.mean(losses)

    run = backend.gradients(loss, model.trainable_variables)
    if ENGINE == "jax":  # which takes long for many operations one by one
        import jax

        run = jax.jit(run)
    value, by_images, others = run(keras.ops.convert_to_tensor(X))
    return [keras.ops.convert_to_numpy(t) for t in (value, by_images, *others)]


def curve(model):
    """Losses of some epochs at constant depth on digits, whose batches are the same on all engines."""
    at_constant_depth(model).compile(keras.optimizers.SGD(0.02, 0.9), "sparse_categorical_crossentropy")
    batches = data.load("digits").training_batches(64, seed=0)
    history = model.fit(batches, steps_per_epoch=4, epochs=4, shuffle=False, verbose=0)
    return np.array(history.history["loss"])


def _write_th(model, path):
    import torch

    named = weights.save(model, path.with_suffix(".timm.safetensors"), layout="timm")
    from safetensors.torch import load_file

    torch.save({"state_dict": load_file(named)}, path)
