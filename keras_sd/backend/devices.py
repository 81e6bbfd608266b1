"""Several devices, and several processes, on the backend that is in use."""

import keras

if keras.backend.backend() == "jax":
    from keras_sd.backend.jax_devices import accelerators, connect, cpus, place, scope, split_cpu
else:
    from keras_sd.backend.tensorflow_devices import accelerators, connect, cpus, place, scope, split_cpu

__all__ = ["accelerators", "connect", "cpus", "place", "scope", "split_cpu"]
