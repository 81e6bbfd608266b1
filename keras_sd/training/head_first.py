"""Frozen layers of a run, and the first epochs, which train only a new classifier."""

import keras

from keras_sd.layers.freezing import freeze, unfreeze
from keras_sd.training.config import TrainConfig
from keras_sd.utils.checks import refusal

HEAD = "predictions"  # the classifier in all models of the package, and of `replace_head`


def freeze_by(model: keras.Model, config: TrainConfig) -> None:
    """Freeze the layers that a configuration names; call this before the model is compiled.

    Raises:
        ValueError: The model has no such layer, or `head_epochs` is used without a classifier of that name.
    """
    needs_head = config.head_only_epochs or config.freeze == "backbone"
    if needs_head and HEAD not in [layer.name for layer in model.layers]:
        raise refusal("model", f"a model whose classifier is called {HEAD!r}", model.name)
    if config.freeze == "backbone":
        freeze_backbone(model)
    elif config.freeze is not None:
        freeze(model, upto=None if config.freeze == "batch_norm" else config.freeze)


def freeze_backbone(model: keras.Model) -> None:
    """Freeze all layers of a model except its classifier."""
    for layer in model.layers:
        layer.trainable = layer.name == HEAD


class HeadFirst(keras.callbacks.Callback):
    """Callback that trains only the classifier in the first epochs, then all layers that are not frozen.

    The optimizer is built for the second phase; steps are compiled once for each phase.

    Args:
        config: A `TrainConfig`.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self._is_head = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._set(epoch < self.config.head_only_epochs)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self._set(False)

    def _set(self, is_head):
        if is_head == self._is_head:
            return
        self._is_head = is_head
        if is_head:
            freeze_backbone(self.model)
        else:
            unfreeze(self.model)
            freeze_by(self.model, self.config)
        self.model.make_train_function(force=True)
        if keras.distribution.distribution() is not None:
            # The compiled test step states the devices of trainable and other variables in two lists.
            self.model.make_test_function(force=True)
