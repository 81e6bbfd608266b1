"""The identity shortcut, by hand."""

import numpy as np
import pytest
from keras import ops

from keras_sd.layers import IdentityShortcut

IMAGE = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)


def run(layer, x):
    return ops.convert_to_numpy(layer(x))


def test_average_pools_and_adds_zeros_behind():
    y = run(IdentityShortcut(3, 2, "average"), IMAGE)
    np.testing.assert_array_equal(y[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])
    np.testing.assert_array_equal(y[..., 1:], 0)


def test_slice_takes_every_second_pixel_and_adds_zeros_on_both_sides():
    y = run(IdentityShortcut(3, 2, "slice"), IMAGE)
    np.testing.assert_array_equal(y[0, :, :, 1], [[0, 2], [8, 10]])
    np.testing.assert_array_equal(y[..., [0, 2]], 0)


def test_an_odd_number_of_new_channels_goes_behind():
    y = run(IdentityShortcut(4, 1, "slice"), IMAGE)
    np.testing.assert_array_equal(y[..., 1], IMAGE[..., 0])
    np.testing.assert_array_equal(y[..., [0, 2, 3]], 0)


def test_odd_sizes_round_up():
    """As in the branch, whose convolution gives ceil(n / 2); the pools at the edge average what there is."""
    image = np.arange(9, dtype="float32").reshape(1, 3, 3, 1)
    np.testing.assert_array_equal(run(IdentityShortcut(1, 2, "average"), image)[0, :, :, 0], [[2, 3.5], [6.5, 8]])
    np.testing.assert_array_equal(run(IdentityShortcut(1, 2, "slice"), image)[0, :, :, 0], [[0, 2], [6, 8]])


@pytest.mark.parametrize("subsampling", ["average", "slice"])
def test_nothing_to_do_is_the_identity(subsampling):
    np.testing.assert_array_equal(run(IdentityShortcut(1, 1, subsampling), IMAGE), IMAGE)


@pytest.mark.parametrize("subsampling", ["average", "slice"])
@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
def test_channels_first_is_the_transpose(subsampling, size):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype("float32")
    last = IdentityShortcut(6, 2, subsampling, data_format="channels_last")
    first = IdentityShortcut(6, 2, subsampling, data_format="channels_first")
    y = run(first, x.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(y.transpose(0, 2, 3, 1), run(last, x), rtol=1e-6)
    assert first.compute_output_shape((None, 3, *size)) == (None, *y.shape[1:])


def test_unknown_sizes():
    assert IdentityShortcut(6, 2).compute_output_shape((None, None, None, 3)) == (None, None, None, 6)


@pytest.mark.parametrize("subsampling", ["average", "slice"])
def test_contract(check_layer, subsampling):
    check_layer(lambda **kwargs: IdentityShortcut(6, 2, subsampling, **kwargs), (5, 4, 3), has_weights=False)


def test_bad_arguments():
    for name, value in (
        ("filters", 0),
        ("filters", 2.0),
        ("filters", True),
        ("strides", 0),
        ("strides", (2, 2)),
        ("subsampling", "max"),
        ("data_format", "NHWC"),
    ):
        with pytest.raises(ValueError, match=f"`{name}` must be") as error:
            IdentityShortcut(**{"filters": 4, name: value})
        assert f"{name}={value!r}" in str(error.value)


def test_fewer_filters_than_channels():
    with pytest.raises(ValueError, match=r"`filters` must be at least the input's channels, 3. Received: filters=2"):
        IdentityShortcut(2).build((None, 4, 4, 3))
