"""Class names of published data sets, in label order."""

import json

from keras_sd.weights.cache import fetch
from keras_sd.weights.registry import WeightsRow
from keras_sd.weights.remote_file import RemoteFile

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# The fine labels of CIFAR-100, in alphabetical order.
CIFAR100 = tuple(
    """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm""".split()  # noqa: SIM905
)

_IMAGENET = RemoteFile(  # MD5 from Keras's imagenet_utils.py
    "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json",
    md5="c2c37ea517e94d9795004a39431a14cb",
)


def imagenet() -> tuple[str, ...]:
    """Return the names of the 1,000 ImageNet classes, from the file that Keras publishes; it is cached.

    Raises:
        WeightsError: The file is not in the cache and cannot be downloaded, or is not the published one.
    """
    index = json.loads(fetch(_IMAGENET).read_text())
    return tuple(index[str(i)][1] for i in range(len(index)))


def class_names(row: WeightsRow) -> tuple[str, ...]:
    """Return the class names for weights, in the order of the classifier's outputs; empty if not known.

    Args:
        row: The row of the weights.

    Raises:
        WeightsError: Same as `imagenet`.
    """
    if row.class_names:
        return row.class_names
    by_tag = {"cifar10": CIFAR10, "cifar100": CIFAR100}
    return by_tag[row.tag] if row.tag in by_tag else imagenet() if row.classes == 1000 else ()
