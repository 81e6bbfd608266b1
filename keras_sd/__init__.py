"""Networks with stochastic depth and dense connectivity for Keras 3.

Importing this package registers its layers, losses and optimizer, so that `keras.saving.load_model` can read files that
contain them.
"""

import sys
from typing import TYPE_CHECKING

from keras_sd._version import __version__
from keras_sd.utils.lazy import lazy_exports, load

# The command imports Keras only if needed, after parsing its arguments.
_in_command = getattr(sys.modules.get("keras_sd_command"), "is_running", False)

if TYPE_CHECKING or not _in_command:
    from keras_sd import layers, schedules, training
    from keras_sd.layers.freezing import freeze, unfreeze
    from keras_sd.models.finetune import feature_pyramid, replace_head
    from keras_sd.models.fold import fold
    from keras_sd.models.runtimes import export_model

    load(training)
else:
    __getattr__ = lazy_exports(__name__)

__all__ = [
    "__version__",
    "export_model",
    "feature_pyramid",
    "fold",
    "freeze",
    "layers",
    "replace_head",
    "schedules",
    "training",
    "unfreeze",
]
