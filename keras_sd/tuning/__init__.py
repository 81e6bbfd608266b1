"""Search over survival probability, growth rate, and other hyperparameters of a network.

```python
hypermodel = keras_sd.tuning.StochasticDenseNet(dataset, growth_rate=(8, 24), survival_probability=(0.5, 1.0))
search = keras_sd.tuning.Search(hypermodel, "bayesian", trials=20, epochs=15, directory="search")
search.search()
keras_sd.tuning.write_report(search)
```
"""

from typing import TYPE_CHECKING

from keras_sd.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from keras_sd.tuning.hypermodels import StochasticDenseNet, StochasticDepthHyperModel, StochasticDepthResNet
    from keras_sd.tuning.oracles import ORACLES
    from keras_sd.tuning.report import trial_rows, write_report
    from keras_sd.tuning.search import Search
    from keras_sd.tuning.workers import parse_address, part_of, serve, wait_for_chief
else:
    __getattr__ = lazy_exports(__name__)

__all__ = [
    "ORACLES",
    "Search",
    "StochasticDenseNet",
    "StochasticDepthHyperModel",
    "StochasticDepthResNet",
    "parse_address",
    "part_of",
    "serve",
    "trial_rows",
    "wait_for_chief",
    "write_report",
]
