"""Augmentation: against PIL, Keras's layers, plain NumPy, and the distributions that the papers name."""

import functools
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from keras_sd import data
from keras_sd.data import augmentation, rand_augment, stored

KEY = tf.constant([3, 4], tf.int64)


def keys(count):
    return [tf.constant([number, 0], tf.int64) for number in range(count)]


def smooth_image(height=24, width=32, seed=0):
    """Noise with large structures, so that resampling has something to be wrong about."""
    coarse = np.random.default_rng(seed).integers(20, 230, (4, 5, 3), "uint8")
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def apply(name, image, sign=1.0, magnitude=9):
    return rand_augment.OPERATIONS[name](tf.constant(image), magnitude / 30, sign).numpy()


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("name", "enhance"),
    [("brightness", "Brightness"), ("color", "Color"), ("contrast", "Contrast"), ("sharpness", "Sharpness")],
)
def test_enhancements_are_those_of_pil(name, enhance, sign):
    image = smooth_image()
    expected = getattr(ImageEnhance, enhance)(Image.fromarray(image)).enhance(1 + sign * 0.9 * 9 / 30)
    difference = np.abs(apply(name, image, sign).astype(int) - np.asarray(expected))
    assert difference.max() <= 1  # PIL cuts fractions off


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("equalize", ImageOps.equalize),
        ("auto_contrast", ImageOps.autocontrast),
        ("posterize", functools.partial(ImageOps.posterize, bits=7)),
        ("solarize", functools.partial(ImageOps.solarize, threshold=178.5)),
        ("identity", lambda image: image),
    ],
)
@pytest.mark.parametrize("image", [smooth_image(), np.full((6, 6, 3), 77, "uint8")], ids=["image", "one_colour"])
def test_tables_of_values_are_those_of_pil(name, function, image):
    expected = np.asarray(function(Image.fromarray(image))).astype(int)
    assert np.abs(apply(name, image) - expected).max() <= (name == "auto_contrast")


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        (
            "rotate",
            lambda t: (np.cos(t * np.pi / 6), -np.sin(t * np.pi / 6), np.sin(t * np.pi / 6), np.cos(t * np.pi / 6)),
        ),
        ("shear_x", lambda t: (1, 0.3 * t, 0, 1)),
        ("shear_y", lambda t: (1, 0, 0.3 * t, 1)),
    ],
)
def test_geometry_is_that_of_pil(name, matrix, sign):
    image = smooth_image()
    a, b, d, e = matrix(sign)
    x, y = 16, 12  # PIL counts from the pixels' corners
    numbers = (a, b, x - a * x - b * y, d, e, y - d * x - e * y)
    expected = Image.fromarray(image).transform(
        (32, 24), Image.Transform.AFFINE, numbers, Image.Resampling.NEAREST, fillcolor=(128,) * 3
    )
    same = (apply(name, image, sign, 30) == np.asarray(expected)).all(-1)
    assert same.mean() > 0.98  # the rest lie halfway between two pixels


def test_translation_moves_by_whole_pixels():
    image = smooth_image()
    moved = apply("translate_x", image, 1.0, 30)  # 150 / 331 of 32 pixels is 14.502
    np.testing.assert_array_equal(moved[:, :17], image[:, 15:])
    assert (moved[:, 17:] == rand_augment.FILL).all()
    moved = apply("translate_y", image, -1.0, 30)
    np.testing.assert_array_equal(moved[11:], image[:13])


def test_rand_augment_draws_every_operation_equally_often(monkeypatch):
    drawn = []
    monkeypatch.setattr(rand_augment, "apply", lambda image, which, *_: drawn.append(int(which)) or image)
    dataset = types.SimpleNamespace(white=255)
    for key in keys(300):
        rand_augment.rand_augment(tf.zeros((2, 2, 3), tf.uint8), key, dataset)
    counts = np.bincount(drawn, minlength=14)
    assert len(counts) == 14
    assert counts.sum() == 600
    assert np.abs(counts - 600 / 14).max() < 4.5 * (600 / 14) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "white"), [(3, 255), (1, 16)])
def test_rand_augment_keeps_range_and_type(channels, white):
    image = tf.constant(np.random.default_rng(0).integers(0, white + 1, (8, 8, channels), "uint8"))
    dataset = types.SimpleNamespace(white=white)
    run = tf.function(lambda key: rand_augment.rand_augment(image, key, dataset))
    outputs = [run(key).numpy() for key in keys(60)]
    assert {output.dtype for output in outputs} == {np.dtype("uint8")}
    assert max(output.max() for output in outputs) == white
    assert len({output.tobytes() for output in outputs}) > 20
    which = list(rand_augment.OPERATIONS).index("identity")
    np.testing.assert_array_equal(rand_augment.apply(image, tf.constant(which), 1.0, 9 / 30), image)


WIDE = {  # torchvision's TrivialAugmentWide at its strongest, by PIL
    "brightness": lambda image: ImageEnhance.Brightness(image).enhance(1.99),
    "color": lambda image: ImageEnhance.Color(image).enhance(1.99),
    "posterize": functools.partial(ImageOps.posterize, bits=2),
    "solarize": functools.partial(ImageOps.solarize, threshold=0),
    "rotate": lambda image: image.rotate(135, Image.Resampling.NEAREST, fillcolor=(128,) * 3),
    "translate_x": lambda image: image.transform(
        image.size, Image.Transform.AFFINE, (1, 0, 32, 0, 1, 0), fillcolor=(128,) * 3
    ),
}


@pytest.mark.parametrize("name", WIDE)
def test_the_strongest_of_trivial_augment_are_pils(name, monkeypatch):
    """Each drawn with the largest of 31 strengths."""
    image = smooth_image(60, 80)
    which = list(rand_augment.OPERATIONS).index(name)
    monkeypatch.setattr(
        tf.random,
        "stateless_uniform",
        lambda shape, seed, low=0, high=1, *_: tf.constant({14: which, 31: 30}.get(high, 0.9)),
    )
    ours = rand_augment.trivial_augment(tf.constant(image), KEY, types.SimpleNamespace(white=255)).numpy()
    difference = np.abs(ours.astype(int) - np.asarray(WIDE[name](Image.fromarray(image))))
    assert (difference > 1).mean() < 0.02  # nearest pixels, of which two may be equally near


def test_trivial_augment_draws_all_strengths_and_one_operation(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        rand_augment, "apply", lambda image, which, sign, share, _: drawn.append((int(which), float(share))) or image
    )
    for key in keys(310):
        rand_augment.trivial_augment(tf.zeros((2, 2, 3), tf.uint8), key, types.SimpleNamespace(white=255))
    which, shares = zip(*drawn)
    assert len(drawn) == 310
    assert set(which) == set(range(14))
    np.testing.assert_allclose(sorted(set(shares)), np.arange(31) / 30, rtol=1e-6)


def test_inception_crops_have_the_papers_areas_and_ratios():
    """Of an image whose pixels hold their place, a crop's corners can be read off its own corners."""
    rows, columns = np.meshgrid(np.arange(100), np.arange(120), indexing="ij")
    image = stored.Pixels(tf.constant(np.stack([rows, columns, rows], -1).astype("uint8")))
    dataset = types.SimpleNamespace(input_shape=(10, 10, 3))
    crop = tf.function(lambda key: augmentation.inception_crop(image, key, dataset))
    crops = np.stack([crop(key).numpy() for key in keys(300)]).astype(float)
    # The outermost of ten pixels are 9 apart.
    height = (crops[:, -1, 0, 0] - crops[:, 0, 0, 0]) * 10 / 9
    width = (crops[:, 0, -1, 1] - crops[:, 0, 0, 1]) * 10 / 9
    is_mirrored = width < 0
    area, ratio = np.abs(height * width) / 12_000, np.abs(width) / height
    assert is_mirrored.mean() == pytest.approx(0.5, abs=0.12)
    assert 0.05 < area.min() < 0.2
    assert 0.8 < area.max() < 1.1
    assert ratio.min() == pytest.approx(3 / 4, abs=0.1)
    assert ratio.max() == pytest.approx(4 / 3, abs=0.15)


def test_random_erasing_sets_a_rectangle_to_the_mean():
    images = tf.ones((4000, 20, 30, 2))
    erased = augmentation.random_erasing(images, KEY, probability=0.25).numpy() == 0
    hit = erased.any((1, 2, 3))
    assert hit.mean() == pytest.approx(0.25, abs=0.035)
    np.testing.assert_array_equal(erased[..., 0], erased[..., 1])
    for mask in erased[hit, :, :, 0]:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    area = erased[hit].mean((1, 2, 3))
    assert area.min() > 0.01
    assert area.max() < 0.37
    assert area.mean() == pytest.approx((0.02 + 0.33) / 2, abs=0.012)
    assert erased[hit].mean((0, 2, 3)).min() > 0.01  # no row or column is left out
    assert erased[hit].mean((0, 1, 3)).min() > 0.01


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_follow_the_beta_distribution_as_those_of_keras_do(alpha):
    from scipy import stats

    ours = augmentation.beta(4000, KEY, alpha).numpy()
    theirs = keras.layers.MixUp(alpha=alpha, seed=0).get_random_transformation(np.zeros((4000, 1, 1, 1)))["mix_weight"]
    places = np.linspace(0.01, 0.99, 99)
    expected = stats.beta(alpha, alpha).cdf(places)
    for shares in (ours, np.asarray(theirs)):
        measured = (shares[:, None] <= places).mean(0)
        assert np.abs(measured - expected).max() < 1.95 / 4000**0.5  # Kolmogorov and Smirnov's bound at 0.001


def test_shares_of_a_tiny_alpha_are_numbers():
    """In float32 both gammas of some pairs would be 0."""
    shares = augmentation.beta(20_000, KEY, 0.02).numpy()
    assert np.isfinite(shares).all()
    assert shares.mean() == pytest.approx(0.5, abs=0.02)


def batch_of_labels(count=64, size=(9, 12), classes=8):
    """Images that hold their example's number in every pixel, and labels."""
    images = np.broadcast_to(np.arange(count, dtype="float32")[:, None, None, None], (count, *size, 1))
    return tf.constant(images), tf.one_hot(np.arange(count) % classes, classes)


def test_mixup_is_what_keras_makes_of_the_same_shares():
    images, labels = batch_of_labels()
    mixed, mixed_labels = augmentation.mix_up(images, labels, KEY, 0.4)
    transformation = {
        "mix_weight": augmentation.beta(64, KEY, 0.4),
        "permutation_order": np.roll(np.arange(64), 1),
    }
    layer = keras.layers.MixUp()
    np.testing.assert_allclose(mixed, layer.transform_images(images, transformation), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(mixed_labels, layer.transform_labels(labels, transformation), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(mixed_labels, 1), 1, rtol=1e-5)


def test_cutmix_labels_are_the_areas_that_are_seen():
    images, labels = batch_of_labels(512)
    mixed, mixed_labels = (part.numpy() for part in augmentation.cut_mix(images, labels, KEY, 1.0))
    for number, (image, label) in enumerate(zip(mixed[..., 0], mixed_labels)):
        partner = (number - 1) % 512
        own = image == number
        assert set(np.unique(image)) <= {number, partner}
        expected = own.mean() * labels[number] + (1 - own.mean()) * labels[partner]
        np.testing.assert_allclose(label, expected, atol=1e-5)
        pasted = ~own
        if pasted.any():
            rows, columns = np.flatnonzero(pasted.any(1)), np.flatnonzero(pasted.any(0))
            assert pasted.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


def test_cutmix_pastes_as_much_as_the_papers_rectangles_do():
    images, labels = batch_of_labels(4000, (30, 40))
    ours = (augmentation.cut_mix(images, labels, KEY, 1.0)[0] != images).numpy().mean()
    generator = np.random.default_rng(0)
    shares = generator.beta(1, 1, 20_000)
    sides = (np.sqrt(1 - shares)[:, None] * (30, 40)).astype(int)
    centers = generator.integers(0, (30, 40), (20_000, 2))
    cut = np.minimum(centers + sides // 2, (30, 40)) - np.maximum(centers - sides // 2, 0)
    assert ours == pytest.approx((cut.prod(1) / 1200).mean(), abs=0.012)


@pytest.mark.slow
def test_with_both_each_batch_is_mixed_by_one_of_them():
    images, labels = batch_of_labels(16)
    run = tf.function(lambda key: augmentation.mix(images, labels, key, 0.4, 1.0))
    kinds = [bool((images_mixed == tf.round(images_mixed)).numpy().all()) for images_mixed, _ in map(run, keys(60))]
    assert np.mean(kinds) == pytest.approx(0.5, abs=0.22)  # CutMix leaves whole numbers


def test_rows_are_applied_in_the_order_of_the_table():
    names = tuple(augmentation.AUGMENTATIONS)
    chosen = augmentation.chosen(("random_erasing", "inception_crop"))
    assert [row.function for row in chosen] == [augmentation.inception_crop, augmentation.random_erasing]
    stages = [row.applies_to for row in augmentation.AUGMENTATIONS.values()]
    assert stages == sorted(stages, key=["stored image", "image", "batch"].index), names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"augmentation": ("random_erase",)},
            "`augmentation` must be a known name, such as random_er",
        ),
        ({"augmentation": "shift"}, "`augmentation` must be a tuple of names"),
        ({"augmentation": ("shift", "shift")}, "must be names that differ"),
        ({"augmentation": ("shift", "shift_flip")}, "one of shift and shift_flip"),
        ({"mixup": -0.1}, "`mixup` must be a number of at least 0. Received: mixup=-0.1"),
        ({"cutmix": float("nan")}, "`cutmix` must be a number of at least 0. Received: cutmix=nan"),
        ({"first_step": -1}, "`first_step` must be an integer from 0 to .* Received: first_step=-1"),
        ({"first_step": 1.5}, "`first_step` must be an integer"),
        ({"first_step": 10**30}, "`first_step` must be an integer"),
        ({"mixup": True}, "`mixup` must be a number"),
        ({"seed": 10**30}, "`seed` must be an integer from 0 to .* Received: seed=10{30}$"),
        ({"seed": float("nan")}, "`seed` must be an integer"),
    ],
)
def test_values_outside_their_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.load("digits").training_batches(64, **arguments)
