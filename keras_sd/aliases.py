"""Short names of data sets."""

DATA = {"svhn": "svhn_cropped", "imagenet": "imagenet2012"}


def data_name(name):
    """The name of a data set in full, as runs record it."""
    return DATA.get(name, name)
