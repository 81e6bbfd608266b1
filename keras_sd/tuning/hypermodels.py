"""Hypermodels for KerasTuner: residual and dense networks with stochastic depth."""

import dataclasses
import json
import math
import time
from collections.abc import Iterable
from typing import Any, ClassVar

import keras
import keras_tuner

from keras_sd import applications, training
from keras_sd.analysis.cost import flops
from keras_sd.data.dataset import ImageSet
from keras_sd.layers.nesting import count_parameters
from keras_sd.models.specs import DenseNetSpec, ResNetSpec, Spec
from keras_sd.runs import networks
from keras_sd.training.callbacks import of_config
from keras_sd.training.evaluation import limited, steps_of
from keras_sd.tuning import budget as budgets
from keras_sd.tuning import space
from keras_sd.utils.checks import check_number, refusal

COSTS = ("flops", "seconds")
_CONFIG_FIELDS = {field.name for field in dataclasses.fields(training.TrainConfig)}
# Fields that define a run, but not how a network is built or trained.
_NOT_TUNED = {"model", "data", "data_dir", "recipe", "model_arguments", "epochs", "deterministic"}
# Arguments of a model that do not change the shapes of its weights.
_SHAPELESS = {"granularity", "scaling", "gates", "dropout_rate", "memory_efficient", "momentum", "epsilon", "seed"}
_BACKWARD = 3  # a training step takes about three times the operations of the forward pass


class StochasticDepthHyperModel(keras_tuner.HyperModel):
    """A search over networks of one family: their survival probability and other hyperparameters.

    Args:
        dataset: An image data set of `keras_sd.data`.
        model: Name of a model of `keras_sd.applications`; defaults to that of `config` if it is of this family, or
            else to the constructor of models of any size.
        config: A `TrainConfig` with all settings that are not searched; defaults to the data set's recipe.
        max_parameters: Integer, maximum number of trainable parameters; larger networks are never trained. `None` for
            no limit.
        max_flops: Number, the same for the FLOPs of the forward pass of one image.
        cost: `None`: the score is the validation error. `"flops"` (of training one image, on average over the
            gates) or `"seconds"` (of the fastest epoch): it is the error plus `cost_weight * log2(cost)`.
        cost_weight: Float, reduction of the error (as a fraction of the images) that is worth a doubling of the cost.
        name: Name of the hypermodel.
        **hyperparameters: By names of rows of `keras_sd.tuning.space.ROWS`, fields of the model's spec, arguments of
            its constructor, or fields of `TrainConfig`. A tuple `(low, high)` is a range, a list has choices, `True`
            and `False` switch rows of the table on and off, and any other value is fixed.

    Raises:
        ValueError: If a name is unknown, bounds are in the wrong order, the network does not allow a value, there is
            nothing to search, or no configuration is within the budget.
    """

    constructor: ClassVar[str]
    spec: ClassVar[type[Spec]]
    default_depth: ClassVar[int]

    def __init__(
        self,
        dataset: ImageSet,
        model: str | None = None,
        config: training.TrainConfig | None = None,
        max_parameters: float | None = None,
        max_flops: float | None = None,
        cost: str | None = None,
        cost_weight: float = 0.01,
        name: str | None = None,
        **hyperparameters: Any,
    ) -> None:
        super().__init__(name)
        if cost is not None and cost not in COSTS:
            raise refusal("cost", f"None or one of {', '.join(COSTS)}", cost)
        check_number("cost_weight", cost_weight, "a number of at least 0", lambda weight: weight >= 0)
        self.dataset, self.cost, self.cost_weight = dataset, cost, cost_weight
        self.budget = budgets.Budget(max_parameters, max_flops)
        if model is None:
            model = config.model if config is not None and self._fits(config.model) else self.constructor
        model, names = self._find(model)
        config = config or training.resolve(dataset.name)
        self.base = dataclasses.replace(config, model=model, model_arguments=self._arguments(config, model))
        self.fixed, self.tuned = space.resolve(hyperparameters, self.constructor, names | _CONFIG_FIELDS - _NOT_TUNED)
        self._check_corners()

    def _fits(self, model):
        """Return whether a model is of this family."""
        row = applications.MODELS.get(model)
        named = row is not None and isinstance(row.spec, self.spec) and row.family != "plainnet"
        return named or model == self.constructor

    def _find(self, model):
        """Return the canonical name of a model, and the names of its arguments."""
        names = {field.name for field in dataclasses.fields(self.spec)}
        if model.lower() == self.constructor.lower():
            return self.constructor, names | {"depth"} | ({"bottleneck"} if self.spec is DenseNetSpec else set())
        name = applications.find(model).name
        if not self._fits(name):
            raise refusal("model", f"{self.constructor!r}, or a named model of that family", name)
        return name, names

    def _arguments(self, config, model):
        """Return the model's base arguments. Those of the recipe are used only if it has the same model."""
        arguments = config.model_arguments if config.model == model else {}
        if model == self.constructor and not {"depth", "blocks"} & set(arguments):
            arguments = {"depth": self.default_depth, **arguments}
        return dict(arguments)

    @property
    def objective(self) -> keras_tuner.Objective:
        """The objective to minimize: the error, or the error and the cost."""
        return keras_tuner.Objective("score", "min")

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> dict[str, Any]:
        """Declare all hyperparameters in a `keras_tuner.HyperParameters`; return their values, decoded."""
        fallback = {**self._defaults(), **(self._cheapest if self._is_tight else {})}
        return {name: one.declare(hp, fallback.get(name), self.tuned) for name, one in self.tuned.items()}

    def _defaults(self):
        return {**dataclasses.asdict(self.base), **self.base.model_arguments}

    def values(self, hp: keras_tuner.HyperParameters | dict[str, Any]) -> dict[str, Any]:
        """Return the values of the active hyperparameters.

        Args:
            hp: `keras_tuner.HyperParameters`, or a dictionary of its values.
        """
        held = hp if isinstance(hp, dict) else hp.values
        return {name: one.decode(held[name]) for name, one in self.tuned.items() if held.get(name) is not None}

    def configure(self, values: dict[str, Any], **changes: Any) -> training.TrainConfig:
        """Return the `TrainConfig` of a configuration.

        Args:
            values: Dictionary of values of hyperparameters, decoded.
            **changes: Further fields of `TrainConfig`.
        """
        # Rounded to be readable, and to be the same whether or not they were sent to a worker as float32.
        values = {name: float(f"{v:.6g}") if isinstance(v, float) else v for name, v in values.items()}
        given = {**self.fixed, **values, **changes}
        fields = {name: value for name, value in given.items() if name in _CONFIG_FIELDS}
        arguments = {**self.base.model_arguments, **{n: v for n, v in given.items() if n not in _CONFIG_FIELDS}}
        if "blocks" in given:
            arguments.pop("depth", None)
        return dataclasses.replace(self.base, model_arguments=arguments, **fields)

    def excess(self, values: dict[str, Any]) -> str | None:
        """Return a text on how a configuration exceeds the budget; `None` if it does not."""
        return self.budget.excess(self.configure(values), self.dataset.input_shape, self.dataset.num_classes)

    def accepts(self, held: dict[str, Any]) -> bool:
        """Return whether values, as stored by KerasTuner, are within the budget."""
        return self.excess(self.values(held)) is None

    def architecture(self, hp: keras_tuner.HyperParameters | dict[str, Any]) -> str:
        """Return a string that is equal for configurations whose weights are interchangeable."""
        arguments = self.configure(self.values(hp)).model_arguments
        shapes = {name: value for name, value in arguments.items() if name not in _SHAPELESS}
        return json.dumps(shapes, sort_keys=True)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Return a compiled model; KerasTuner calls this.

        Args:
            hp: A `keras_tuner.HyperParameters`.
        """
        self.declare_hyperparameters(hp)
        config = self.configure(self.values(hp))
        model = self.build_model(config)
        training.compile_model(model, config, config.epochs * steps_of(self.dataset, config))
        return model

    def build_model(self, config: training.TrainConfig) -> keras.Model:
        """Return the model of a `TrainConfig`, with its dtype policy."""
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(config.policy)
        try:
            return networks.make(config, self.dataset.model_shape, self.dataset.num_classes)
        finally:
            keras.config.set_dtype_policy(policy)

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        *,
        epochs: int | None = None,
        initial_epoch: int = 0,
        callbacks: Iterable[keras.callbacks.Callback] = (),
        verbose: int | str = 0,
    ) -> keras.callbacks.History:
        """Train a model of `build` on the data set; KerasTuner calls this.

        The learning rate follows its whole schedule from `initial_epoch` to `epochs`, so that all networks of a
        Hyperband round are compared at its end. This is a warm restart (Loshchilov and Hutter, 2017) if weights are
        from an earlier round.

        Args:
            hp: The `keras_tuner.HyperParameters` of the model.
            model: The model.
            epochs: Integer, the last epoch; `None` for the configuration's.
            initial_epoch: Integer, number of epochs already trained.
            callbacks: Keras callbacks.
            verbose: Same as in `keras.Model.fit`.

        Returns:
            A `History`. In addition to Keras's records it has `val_error`, `score`, `parameters`, `training_flops` (of
            an image) and `epoch_seconds` (of the fastest epoch so far).

        Raises:
            keras_tuner.errors.FailedTrialError: If the configuration exceeds the budget.
        """
        values = self.values(hp)
        if (excess := self.excess(values)) is not None:
            raise keras_tuner.errors.FailedTrialError(excess)
        config = self.configure(values)
        epochs = config.epochs if epochs is None else epochs
        steps = steps_of(self.dataset, config)
        training.compile_model(model, config, (epochs - initial_epoch) * steps)
        stop = keras.callbacks.TerminateOnNaN()  # a diverged trial keeps the score of its best epoch
        return model.fit(
            self.dataset.training_batches(
                config.batch_size, config.seed, first_step=initial_epoch * steps, **config.augmentations
            ),
            steps_per_epoch=steps,
            initial_epoch=initial_epoch,
            epochs=epochs,
            validation_data=limited(self.dataset.batches("validation"), config.steps_per_epoch),
            callbacks=[Scoring(self.cost, self.cost_weight), *of_config(config), *callbacks, stop],
            shuffle=False,  # the batches are already shuffled
            verbose=verbose,
        )

    def _check_corners(self):
        """Find a configuration within the budget; this also detects configurations that cannot be built."""
        first = {name: one.values()[0] for name, one in self.tuned.items()}
        last = {name: one.values()[-1] for name, one in self.tuned.items()}
        self._cheapest, self._is_tight = first, False
        shape, classes = self.dataset.input_shape, self.dataset.num_classes
        for corner in (first, last):
            config = self.configure(corner)
            self.dataset.steps_per_epoch(config.batch_size)
            try:
                budgets.measure(config, shape, classes)
            except TypeError as error:
                raise ValueError(f"hyperparameters: {error}") from error
        self._is_tight = self.excess(self._defaults_within()) is not None
        if not self._is_tight or self.excess(first) is None:
            return
        # The cost grows with each hyperparameter separately, so each in turn is set to its cheapest value.
        for name, one in self.tuned.items():
            self._cheapest = min(
                ({**self._cheapest, name: value} for value in one.values()),
                key=lambda corner: budgets.measure(self.configure(corner), shape, classes),
            )
        if (excess := self.excess(self._cheapest)) is not None:
            described = ", ".join(f"{name}={value}" for name, value in self._cheapest.items())
            raise ValueError(f"{excess} in the cheapest configuration: {described}")

    def _defaults_within(self):
        """Return the values of the hyperparameters in a new `HyperParameters`."""
        hp = keras_tuner.HyperParameters()
        self.declare_hyperparameters(hp)
        return self.values(hp)


class StochasticDepthResNet(StochasticDepthHyperModel):
    """Residual networks with stochastic depth. Arguments are those of `StochasticDepthHyperModel`.

    Reference:
        [Huang et al., 2016](https://arxiv.org/abs/1603.09382)
    """

    constructor, spec, default_depth = "ResNet", ResNetSpec, 20


class StochasticDenseNet(StochasticDepthHyperModel):
    """Densely connected networks with stochastic depth. Arguments are those of `StochasticDepthHyperModel`.

    Reference:
        [Huang et al., 2017](https://arxiv.org/abs/1608.06993)
    """

    constructor, spec, default_depth = "DenseNet", DenseNetSpec, 40


class Scoring(keras.callbacks.Callback):
    """Callback that adds error, costs and score to the logs of each epoch, for comparison in a search.

    Args:
        cost, cost_weight: Same as in the hypermodels.
    """

    def __init__(self, cost: str | None = None, cost_weight: float = 0.0) -> None:
        super().__init__()
        self.cost, self.cost_weight = cost, cost_weight
        self.seconds = math.inf

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.parameters = count_parameters(self.model)
        self.training_flops = _BACKWARD * flops(self.model, expected=True)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None  # Keras provides them
        self.seconds = min(self.seconds, time.perf_counter() - self.start)  # the first one compiles
        costs = {"flops": self.training_flops / 1e9, "seconds": self.seconds}
        error = 1 - logs["val_accuracy"]
        logs |= {
            "val_error": error,
            "score": error + (self.cost_weight * math.log2(costs[self.cost]) if self.cost else 0.0),
            "parameters": self.parameters,
            "training_flops": self.training_flops,
            "epoch_seconds": self.seconds,
        }
