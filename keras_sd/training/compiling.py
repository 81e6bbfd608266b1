"""Optimiser, loss and metrics of a configuration."""

import keras

from keras_sd.training.optimizer import SGD, StepSchedule


def compile_model(model, config, total_steps):
    """Compiles a classifier with the configuration's optimiser and loss, and accuracy."""
    schedule = StepSchedule(config.learning_rate, total_steps, config.milestones, warmup_steps=config.warmup_steps)
    model.compile(
        optimizer=SGD(schedule, momentum=config.momentum, l2=config.l2),
        loss=keras.saving.get_registered_object(config.loss) or config.loss,
        metrics=["accuracy"],
    )
