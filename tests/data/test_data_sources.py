"""Sets by name, of folders and of files: what is read, what is held out, what is refused."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from keras_sd import data


def enlarged(images, labels):
    """Images of 32x32 pixels, each of them repeated: small as files, and yet all different."""
    return images.repeat(16, 1).repeat(16, 2), labels


def sizes(dataset):
    return [len(getattr(dataset, part)) for part in data.PARTS]


def keys_of(part):
    return {image.tobytes() for image in part.images}


def assert_parts_are_apart(dataset):
    parts = [keys_of(getattr(dataset, part)) for part in data.PARTS]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


@pytest.mark.slow
def test_svhn_is_split_as_in_the_paper(store_tfds, noise):
    """Of each class 400 of the training and 200 of the extra images: Huang et al. 2016, section 4."""
    names = [str(digit) for digit in range(10)]
    train, extra = (enlarged(*noise(count, 2, 2, classes=10)) for count in (4030, 2040))
    splits = {"train": train, "extra": extra, "test": enlarged(*noise(20, 2, 2))}
    svhn = data.load("svhn", store_tfds("svhn_cropped", splits, names, version="3.1.0"))
    assert sizes(svhn) == [4030 + 2040 - 6000, 6000, 20]
    assert svhn.name == "svhn_cropped"
    assert svhn.augmentation == ()
    of_extra = {image.tobytes() for image in extra[0]}
    for part, of_train, in_extra in (("validation", 4000, 2000), ("train", 30, 40)):
        images = [image.tobytes() for image in getattr(svhn, part).images]
        assert sum(image in of_extra for image in images) == in_extra
        assert sum(image not in of_extra for image in images) == of_train
    assert np.bincount(svhn.validation.labels).tolist() == [600] * 10


@pytest.mark.slow
def test_cifar100_holds_out_50_of_each_class(store_tfds, noise):
    names = [f"class {number}" for number in range(100)]
    train, test = (enlarged(*noise(count, 2, 2, classes=100)) for count in (5200, 100))
    splits = {"train": train, "test": test}
    cifar100 = data.load("cifar100", store_tfds("cifar100", splits, names, version="3.0.2"))
    assert sizes(cifar100) == [200, 5000, 100]
    assert np.bincount(cifar100.validation.labels).tolist() == [50] * 100
    assert (cifar100.augmentation, cifar100.shift) == (("shift_flip",), 4)


@pytest.mark.slow
def test_imagenet_is_tested_on_the_published_validation_part(store_tfds, noise, all_stream):
    splits = {"train": noise(100, 8, 12), "validation": noise(10, 8, 12), "test": noise(5, 8, 12)}
    folder = store_tfds("imagenet2012", splits, ["a", "b", "c"], (None, None, 3), version="5.1.0")
    imagenet = data.load("imagenet", folder, image_size=7)
    assert isinstance(imagenet, data.StreamingDataset)
    assert sizes(imagenet) == [90, 10, 10]
    assert imagenet.augmentation == ("inception_crop",)
    assert imagenet.input_shape == (7, 7, 3)
    # The published constants: 0.485 of 255 and so on.
    np.testing.assert_allclose(np.array(imagenet.mean) / 255, (0.485, 0.456, 0.406))
    np.testing.assert_allclose(np.array(imagenet.std) / 255, (0.229, 0.224, 0.225))
    # The short side is 8 = 7 / 0.875, so the middle 7 x 7 pixels of each image are those that were stored.
    images = next(iter(imagenet.batches("test")))[0].numpy() * imagenet.std + imagenet.mean
    middles = sorted(image.round().astype("uint8").tobytes() for image in images)
    assert middles == sorted(image[:7, 2:9].tobytes() for image in splits["validation"][0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "expected"),
    [(("train",), [48, 6, 6]), (("train", "validation"), [54, 6, 60]), (("train", "validation", "test"), [60, 60, 60])],
)
@pytest.mark.parametrize("is_large", [pytest.param(False, marks=pytest.mark.large), True])
def test_what_a_tfds_set_does_not_publish_is_held_out(store_tfds, noise, parts, expected, is_large, request):
    if is_large:
        request.getfixturevalue("all_stream")
    stored = noise(180)
    splits = {part: (stored[0][i::3], stored[1][i::3] * 0 + np.arange(60) % 3) for i, part in enumerate(parts)}
    sets = data.load("tfds:some_set", store_tfds("some_set", splits, ["a", "b", "c"]))
    assert sizes(sets) == expected
    images = [{x.tobytes() for batch, _ in sets.batches(part) for x in batch.numpy()} for part in data.PARTS]
    assert len(set.union(*images)) == sum(expected)


@pytest.mark.parametrize(
    ("label", "shape", "names", "message"),
    [
        (
            "digit",
            None,
            ["a", "b"],
            r"a set with image \(Image\) and label .*; it has digit \(ClassLabel\)",
        ),
        ("label", None, ["a"], "a set of at least two classes; it has 1"),
        ("label", (None, None, 3), ["a", "b"], "`image_size` must be given for 'tfds:odd'"),
    ],
)
def test_tfds_sets_that_do_not_serve_are_refused(store_tfds, noise, label, shape, names, message):
    folder = store_tfds("odd", {"train": noise(40, classes=len(names))}, names, shape, label=label)
    with pytest.raises(ValueError, match=message):
        data.load("tfds:odd", folder)


def test_names_are_compared_with_those_that_are_there(store_tfds, noise):
    folder = store_tfds("my_own_flowers", {"train": noise(40)}, ["a", "b", "c"])
    with pytest.raises(ValueError, match="`data` must be a known name, such as tfds:my_own_flowers"):
        data.load("tfds:my_flowers", folder)
    with pytest.raises(ValueError, match="such as tfds:cifar10"):
        data.load("tfds:cifar-10", folder)
    with pytest.raises(ValueError, match="or have one of the forms tfds:NAME, folder:PATH, npz:PATH"):
        data.load("files:x")
    with pytest.raises(ValueError, match=r"`image_size` must be an integer from 1 to 65,536\. Received: image_size=0"):
        data.load("digits", image_size=0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": None}, TypeError, "`name` must be a string. Received: name=None"),
        ({"name": b"digits"}, TypeError, "`name` must be a string"),
        ({"data_dir": -np.inf}, TypeError, "`data_dir` must be a path or None. Received: data_dir=-inf"),
        ({"data_dir": 0}, TypeError, "`data_dir` must be a path or None"),
        ({"image_size": True}, ValueError, "`image_size` must be an integer from 1 to"),
        ({"image_size": 2**40}, ValueError, "`image_size` must be an integer from 1 to"),
        ({"image_size": 8.0}, ValueError, "`image_size` must be an integer from 1 to"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        data.load(**{"name": "digits"} | arguments)


def test_digits_can_be_enlarged():
    large, small = data.load("digits", image_size=16), data.load("digits")
    assert large.input_shape == (16, 16, 1)
    assert sizes(large) == sizes(small)
    np.testing.assert_array_equal(large.train.labels, small.train.labels)
    assert np.abs(large.train.images.mean((1, 2)) - small.train.images.mean((1, 2))).max() < 0.7


def test_a_folder_holds_out_a_tenth_of_each_class(store_folder):
    folder = store_folder("pets", {"cat": 30, "dog": 20, ".cache": 3})
    pets = data.load(f"folder:{folder}")
    assert pets.class_names == ("cat", "dog")
    assert sizes(pets) == [50 - 5 - 5, 5, 5]
    assert np.bincount(pets.test.labels).tolist() == [3, 2]
    assert_parts_are_apart(pets)
    again = data.load(f"folder:{folder}")
    assert again.describe() == pets.describe()
    # Images are what PIL reads, and belong to their classes.
    stored = {np.asarray(Image.open(file)).tobytes(): file.parent.name for file in folder.glob("[a-z]*/*.png")}
    for part in (pets.train, pets.validation, pets.test):
        assert [stored[x.tobytes()] for x in part.images] == [pets.class_names[y] for y in part.labels]


def test_a_folder_of_parts_is_taken_as_it_is(store_folder):
    for part, count in (("train", 8), ("val", 3), ("test", 2)):
        folder = store_folder(f"pets/{part}", {"cat": count, "dog": count}, mode="L").parent
    pets = data.load(f"folder:{folder}")
    assert sizes(pets) == [16, 6, 4]
    assert pets.input_shape == (6, 6, 1)


def test_images_of_many_sizes_and_kinds_are_brought_to_one(store_folder):
    folder = store_folder("pets", {"cat": 10}, (6, 9))
    store_folder("pets", {"dog": 10}, (12, 8), "L", ".jpg")
    with pytest.raises(ValueError, match=r"`image_size` must be given for 'folder:.*pets', whose images differ"):
        data.load(f"folder:{folder}")
    assert data.load(f"folder:{folder}", image_size=5).input_shape == (5, 5, 3)


def test_a_turned_photograph_is_turned_back(store_folder):
    folder = store_folder("pets", {"cat": 5, "dog": 5}, (6, 9))
    upright = Image.open(folder / "cat" / "000.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned clockwise by a quarter
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    turned.save(folder / "cat" / "000.png", exif=exif)
    pets = data.load(f"folder:{folder}")
    assert pets.input_shape == (6, 9, 3)
    assert np.asarray(upright).tobytes() in set.union(*(keys_of(getattr(pets, part)) for part in data.PARTS))


def test_all_unreadable_files_are_named(store_folder):
    folder = store_folder("pets", {"cat": 5, "dog": 5}, (30, 30))
    (folder / "cat" / "000.png").write_bytes(b"")
    whole = (folder / "dog" / "003.png").read_bytes()
    (folder / "dog" / "003.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"2 files cannot be read as images: .*cat/000.png \(it has no .*dog/003.png"):
        data.load(f"folder:{folder}")


def test_bad_files_are_named_and_skipped_up_to_a_number(store_folder, caplog):
    folder = store_folder("pets", {"cat": 6, "dog": 6}, (30, 30), suffix=".jpg")
    (folder / "cat" / "000.jpg").write_bytes(b"")
    whole = (folder / "dog" / "003.jpg").read_bytes()
    (folder / "dog" / "003.jpg").write_bytes(whole[: len(whole) // 2])
    pets = data.load(f"folder:{folder}", max_bad_files=2)
    assert sum(sizes(pets)) == 10
    [said] = [record.getMessage() for record in caplog.records]
    assert "2 files cannot be read as images: " in said
    assert "cat/000.jpg (" in said
    assert "dog/003.jpg (" in said
    with pytest.raises(ValueError, match=r"that can be read, but for 1; 2 files cannot be read as images: .*000\.jpg"):
        data.load(f"folder:{folder}", max_bad_files=1)
    with pytest.raises(ValueError, match="`max_bad_files` must be an integer of at least 0"):
        data.load(f"folder:{folder}", max_bad_files=-1)


def test_a_torn_jpeg_is_named(store_folder):
    folder = store_folder("pets", {"cat": 5, "dog": 5}, (90, 90), suffix=".jpg")
    whole = (folder / "dog" / "003.jpg").read_bytes()
    (folder / "dog" / "003.jpg").write_bytes(whole[: len(whole) // 2])  # its header is in order
    with pytest.raises(ValueError, match=r"1 file cannot be read as an image: .*dog/003.jpg \(image file is truncated"):
        data.load(f"folder:{folder}")


@pytest.mark.filterwarnings("error")
def test_a_folder_is_read_below_its_classes_and_whatever_pillow_decodes(store_folder):
    for number, suffix in enumerate((".png", ".TIF", ".tiff", ".gif", ".webp", ".bmp", ".jp2", ".ppm")):
        deep = "/".join("sub" for _ in range(number % 3))
        for name in ("cat", "dog"):
            store_folder(f"pets/{name}/{deep}/{number}", {"": 1}, suffix=suffix)
    pets = data.load(f"folder:{store_folder('pets', {})}")
    assert sizes(pets) == [12, 2, 2]
    assert np.bincount(pets.train.labels).tolist() == [6, 6]


def test_files_that_are_skipped_are_counted_by_their_reasons(store_folder, caplog):
    folder = store_folder("pets/train", {"cat": 5, "dog": 5}).parent
    for file in ("train/cat/a.txt", "train/dog/b.txt", "train/dog/c", "train/dog/weights.h5", "train/.DS_Store"):
        (folder / file).write_text("no image")
    store_folder("pets/train/cat/.cache", {"": 2})
    store_folder("pets/valid", {"cat": 3})
    (folder / "train" / "dog" / "loop").symlink_to(folder)
    said = "10 files are skipped: 3 hidden, 3 outside of train, 2 .txt, 1 .h5, 1 no suffix"
    pets = data.load(f"folder:{folder}")
    assert sizes(pets) == [6, 2, 2]
    assert [record.getMessage() for record in caplog.records] == [f"Of folder:{folder} {said}"]


@pytest.mark.parametrize("names", [("Training", "Testing"), ("valid", "test"), ("val",)])
def test_parts_of_other_names_are_no_classes(store_folder, names):
    for name in names:
        folder = store_folder(f"pets/{name}", {"cat": 5, "dog": 5}).parent
    with pytest.raises(ValueError, match=f"a subfolder for each class, .* has {', '.join(sorted(names))}"):
        data.load(f"folder:{folder}")


def test_folders_that_do_not_serve_are_refused(store_folder, tmp_path):
    with pytest.raises(ValueError, match=r"`data` must be the folder of a set; .*nowhere is not a directory"):
        data.load(f"folder:{tmp_path / 'nowhere'}")
    with pytest.raises(ValueError, match="a set of at least two classes; it has 1"):
        data.load(f"folder:{store_folder('one', {'cat': 5})}")
    with pytest.raises(ValueError, match=r"a folder of images of each class, .*none/dog has none"):
        data.load(f"folder:{store_folder('none', {'cat': 5, 'dog': 0})}")
    with pytest.raises(ValueError, match=r"at least 3 training images of each class.* too few of dog \(2\)"):
        data.load(f"folder:{store_folder('few', {'cat': 5, 'dog': 2})}")
    store_folder("strange/train", {"cat": 5, "dog": 5})
    with pytest.raises(ValueError, match=r"the training classes in all splits; .*has 'cow'"):
        data.load(f"folder:{store_folder('strange/test', {'cow': 5}).parent}")
    store_folder("both/train", {"cat": 5, "dog": 5})
    store_folder("both/val", {"cat": 5})
    with pytest.raises(ValueError, match=r"one of validation and val; .* has both"):
        data.load(f"folder:{store_folder('both/validation', {'cat': 5}).parent}")


@pytest.fixture
def arrays(noise):
    train, test = noise(60), noise(12)
    return {"x_train": train[0], "y_train": train[1], "x_test": test[0], "y_test": test[1]}


def test_numpy_files_are_read(arrays, noise, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays | {"x_train": arrays["x_train"][..., 0], "x_test": arrays["x_test"][..., 0]})
    sets = data.load(f"npz:{tmp_path / 'a.npz'}")
    assert sizes(sets) == [54, 6, 12]
    assert sets.input_shape == (6, 6, 1)
    assert_parts_are_apart(sets)
    validation = noise(9)
    more = {"x_validation": validation[0], "y_validation": validation[1][:, None], "class_names": ["a", "b", "c"]}
    np.savez(tmp_path / "b.npz", **arrays, **more)
    sets = data.load(f"npz:{tmp_path / 'b.npz'}", image_size=4)
    assert sizes(sets) == [60, 9, 12]
    assert (sets.input_shape, sets.class_names) == ((4, 4, 3), ("a", "b", "c"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.zeros((60, 6), "uint8")}, r"x_train must be uint8 \(n, height, width.* it is uint8 \(60, 6\)"),
        ({"x_train": np.zeros((60, 6, 6, 3))}, r"x_train must be uint8 .* it is float64 \(60, 6, 6, 3\)"),
        ({"y_test": np.zeros((12, 3), "uint8")}, r"y_test must be whole numbers \(n,\); it is uint8 \(12, 3\)"),
        ({"y_test": np.zeros(12)}, r"y_test must be whole numbers \(n,\); it is float64"),
        ({"y_test": np.zeros(11, int)}, "y_test must have 12 labels, one for each image; it has 11"),
        ({"y_test": np.full(12, 3)}, r"labels in \[0, 3\); its test split has 3"),
        ({"y_train": np.arange(60) % 3 - 1}, r"labels in \[0, 2\); its train split has -1"),
        ({"y_train": np.arange(60) % 3 * 2}, r"at least 2 training images of each class.* too few of 1 \(0\), 3 \(0\)"),
        ({"y_train": np.zeros(60, int)}, "a set of at least two classes; it has 1"),
        (
            {"x_test": np.zeros((12, 5, 6, 3), "uint8")},
            r"x_test has images of \(6, 6, 3\), .* they are of \(5, 6, 3\)",
        ),
        ({"x_test": None}, "a file of x_train, .*; it has x_train, y_train, y_test"),
        ({"x_validation": np.zeros((1, 6, 6, 3), "uint8")}, "both or neither of x_validation and y_validation"),
        (
            {"x_train": np.zeros((60, 3, 8, 8), "uint8")},
            r"x_train must be .* it is \(60, 3, 8, 8\), with",
        ),
        (
            {"x_train": np.zeros((60, 1, 8, 8), "uint8")},
            r"x_train must be .* it is \(60, 1, 8, 8\), with",
        ),
        ({"class_names": np.array(["a", "b"])}, r"labels in \[0, 2\); its \w+ split has 2"),
    ],
)
def test_numpy_files_that_do_not_serve_are_refused(arrays, tmp_path, changes, message):
    np.savez(tmp_path / "a.npz", **{name: array for name, array in (arrays | changes).items() if array is not None})
    with pytest.raises(ValueError, match=message):
        data.load(f"npz:{tmp_path / 'a.npz'}")


def test_images_of_many_channels_are_no_channels_first(arrays, tmp_path):
    spectra = {name: arrays[name].repeat(4, -1) for name in ("x_train", "x_test")}
    np.savez(tmp_path / "a.npz", **arrays | spectra)
    assert data.load(f"npz:{tmp_path / 'a.npz'}").input_shape == (6, 6, 12)


def test_what_is_no_numpy_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`data` must be a file; .*a\.npz is not a file"):
        data.load(f"npz:{tmp_path / 'a.npz'}")
    (tmp_path / "a.npz").write_text("no archive")
    with pytest.raises(ValueError, match=r"`data` must be an \.npz file that can be read"):
        data.load(f"npz:{tmp_path / 'a.npz'}")
    np.savez(tmp_path / "b.npz", x_train=np.array([{}]))
    with pytest.raises(ValueError, match=r"`data` must be an \.npz file that can be read \(Object arrays"):
        data.load(f"npz:{tmp_path / 'b.npz'}")


@pytest.mark.slow
def test_a_run_records_what_determines_the_data(store_folder, all_stream):
    folder = store_folder("pets", {"cat": 20, "dog": 20})
    before = data.load(f"folder:{folder}").describe()
    assert data.load(f"folder:{folder}").describe() == before
    Image.new("RGB", (6, 6)).save(folder / "cat" / "000.png")
    assert data.load(f"folder:{folder}").describe()["files_sha256"] != before["files_sha256"]


def test_sets_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.load("digits").shift = 3
