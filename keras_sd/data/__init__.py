"""Image data sets: loading, fixed splits, normalization, and batches augmented inside the graph.

```python
dataset = keras_sd.data.load("digits")
model.fit(
    dataset.training_batches(64, seed=0),
    steps_per_epoch=dataset.steps_per_epoch(64),
    validation_data=dataset.batches("validation"),
    epochs=30,
    shuffle=False,  # the batches are shuffled already
)
```
"""

from keras_sd.backend.tensorflow_beside import leave_gpus_to_the_engine
from keras_sd.data.augmentation import AUGMENTATIONS
from keras_sd.data.catalog import DATASETS, load
from keras_sd.data.dataset import PARTS, Dataset, Part, hold_out
from keras_sd.data.streaming import StreamingDataset

__all__ = ["AUGMENTATIONS", "DATASETS", "PARTS", "Dataset", "Part", "StreamingDataset", "hold_out", "load"]

leave_gpus_to_the_engine()
