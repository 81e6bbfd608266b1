"""Optimiser, loss and metrics of a configuration."""

from keras_sd.training.learning_rates import learning_rates
from keras_sd.training.losses import Accuracy, loss_of
from keras_sd.training.optimizers import LAMB, SGD


def compile_model(model, config, total_steps):
    """Compiles a classifier with the configuration's optimiser and loss, and accuracy."""
    model.compile(optimizer=_optimizer(config, total_steps), loss=loss_of(config), metrics=[Accuracy()])


def _optimizer(config, total_steps):
    arguments = {"l2": config.l2, "decay_norm_and_bias": config.decay_norm_and_bias}
    if config.ema_momentum is not None:
        arguments |= {"use_ema": True, "ema_momentum": config.ema_momentum}
    schedule = learning_rates(config, total_steps)
    if config.optimizer == "lamb":
        return LAMB(schedule, **arguments)
    return SGD(schedule, momentum=config.momentum, nesterov=config.nesterov, **arguments)
