"""Code that depends on the engine of Keras: loops over blocks, gates, fused kernels, gradients, devices.

The rest of the package uses only `keras.ops` and the names in the package of the engine. All these packages have the
same `__all__`; a new engine needs one more package.
"""

import keras

if keras.backend.backend() == "tensorflow":
    from keras_sd.backend.tensorflow import *  # noqa: F403
elif keras.backend.backend() == "jax":
    from keras_sd.backend.jax import *  # type: ignore[no-redef, assignment]  # noqa: F403, one of them is imported
elif keras.backend.backend() == "torch":
    from keras_sd.backend.torch import *  # type: ignore[no-redef, assignment]  # noqa: F403, one of them is imported
else:
    raise ImportError(
        f"keras_sd runs on the backends tensorflow, jax and torch of Keras. Received: {keras.backend.backend()!r}. "
        'Set KERAS_BACKEND="tensorflow" (or "jax", or "torch") before Keras is imported.'
    )
