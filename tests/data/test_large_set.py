"""A set of ImageNet's shape: 20,000 photographs in 64 shards, read for 200 steps."""

import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_sd.data import StreamingDataset, order, streaming, tfds

SHARDS, IN_EACH = 64, 313  # 20,032 images


def parse(record, use):
    return tfds.decode(tf.strings.substr(record, 1, -1), use), tf.cast(tf.io.decode_raw(record, tf.uint8)[0], tf.int32)


@pytest.fixture
def shards(tmp_path):
    generator = np.random.default_rng(0)
    coarse = generator.uniform(0, 255, (16, 12, 16, 3)).astype("float32")
    photographs = [tf.io.encode_jpeg(tf.cast(tf.image.resize(image, (375, 500)), tf.uint8)).numpy() for image in coarse]
    names = tuple(str(tmp_path / f"{number:02}") for number in range(SHARDS))
    for name in names:
        with tf.io.TFRecordWriter(name) as writer:
            for number in range(IN_EACH):
                writer.write(bytes([number % 2]) + photographs[number % 16])
    return streaming.Shards(names, (0,) * SHARDS, (IN_EACH,) * SHARDS, parse)


def resident():
    """Bytes of this process in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


@pytest.mark.slow
@pytest.mark.large
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_is_flat_and_the_first_batch_is_soon_there(shards):
    settings = {"mean": (120.0,) * 3, "std": (60.0,) * 3, "augmentation": ("inception_crop",), "shift": 0}
    photographs = StreamingDataset(
        "large", ("a", "b"), shards, shards, shards, **settings, size=(224, 224, 3), crop=0.875
    )
    started, memory = time.monotonic(), []
    for step, (images, _) in enumerate(photographs.training_batches(32).take(200)):
        if step == 0:
            assert time.monotonic() - started < 10
        assert images.shape == (32, 224, 224, 3)
        memory.append(resident())
    print(f"memory in MB after every 25 steps: {[round(size / 1e6) for size in memory[24::25]]}")
    # After 128 steps a second block of records is read ahead, while the first is still there.
    block = order.SHUFFLED_TOGETHER * Path(shards.filenames[0]).stat().st_size / IN_EACH
    assert max(memory) - memory[25] < 1.2 * block + 30e6
    assert sum(len(labels) for _, labels in photographs.batches("validation").take(8)) == 8 * 256
