"""Published weights: what is known about them, how they are downloaded, and how they are loaded into a model."""

from typing import TYPE_CHECKING

from keras_sd.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from keras_sd.weights.cache import fetch, verify
    from keras_sd.weights.canonical_names import canonical
    from keras_sd.weights.errors import WeightsError
    from keras_sd.weights.formats.readers import WeightsFile, read
    from keras_sd.weights.loading import copy, load, save
    from keras_sd.weights.registry import WEIGHTS, Preprocessing, WeightsRow, find, get_row, list_weights
    from keras_sd.weights.remote_file import RemoteFile
    from keras_sd.weights.sources import Source, required_arguments, resolve
else:
    __getattr__ = lazy_exports(__name__)

__all__ = [
    "WEIGHTS",
    "Preprocessing",
    "RemoteFile",
    "Source",
    "WeightsError",
    "WeightsFile",
    "WeightsRow",
    "canonical",
    "copy",
    "fetch",
    "find",
    "get_row",
    "list_weights",
    "load",
    "read",
    "required_arguments",
    "resolve",
    "save",
    "verify",
]
