"""Weights into models: equal functions whatever form and file they come in; what does not fit changes nothing."""

import itertools
import os
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers import randomize

from keras_sd import applications, weights
from keras_sd.weights import WeightsError

SHAPE = (32, 32, 3)
TINY = {"blocks": (2, 3), "filters": (4, 8), "stem_filters": 4}
KERAS_FAMILIES = ("ResNet50", "ResNet50V2", "DenseNet121")


def outputs(model, shape=SHAPE):
    return keras.ops.convert_to_numpy(model(np.random.default_rng(9).normal(size=(2, *shape)).astype("float32")))


def unchanged(model, action, message):
    """The action fails with this message, and leaves the model as it was."""
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.variables]
    with pytest.raises(WeightsError, match=message) as error:
        action()
    assert all((keras.ops.convert_to_numpy(v) == b).all() for v, b in zip(model.variables, before))
    return str(error.value)


def resnet(**arguments):
    return applications.ResNet(**{**TINY, "classifier_activation": None, **arguments})


def densenet(**arguments):
    return applications.DenseNet(blocks=(2, 3), growth_rate=4, classifier_activation=None, **arguments)


# ------------------------------------------------------------------------------------------------ names


def test_forms_of_a_network_have_the_same_names():
    stack, blocks = (weights.canonical(resnet(stacked=stacked)) for stacked in (True, False))
    assert set(stack) == set(blocks)
    assert {name: slot.shape for name, slot in stack.items()} == {name: slot.shape for name, slot in blocks.items()}
    assert {
        "stem/conv/kernel",
        "stem/norm/moving_mean",
        "stage1/block1/conv1/kernel",
        "stage1/block2/norm2/gamma",
        "stage2/block1/conv2/kernel",
        "stage2/block3/norm1/moving_variance",
        "head/kernel",
        "head/bias",
    } <= set(stack)
    assert len(stack) == 1 + 4 + 5 * (2 + 8) + 2


@pytest.mark.slow
def test_names_of_the_other_families():
    dense = weights.canonical(densenet())
    assert {"stage1/layer2/norm2/beta", "transition1/conv/kernel", "final/norm/gamma"} <= set(dense)
    projected = weights.canonical(resnet(shortcut="projection"))
    assert {"stage2/block1/shortcut/conv/kernel", "stage2/block1/shortcut/norm/gamma"} <= set(projected)
    plain = weights.canonical(applications.PlainNet(**TINY))
    assert set(plain) == set(weights.canonical(resnet()))
    assert "hidden1/kernel" in weights.canonical(applications.MLP(widths=(3,)))


@pytest.mark.parametrize("make", [resnet, densenet, lambda: applications.MLP(widths=(5, 4))])
def test_every_weight_has_one_name(make):
    model = make()
    slots = weights.canonical(model)
    assert sum(int(np.prod(slot.shape)) for slot in slots.values()) == model.count_params()


# ---------------------------------------------------------------------------------------- files and copies


@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".weights.h5"])
@pytest.mark.parametrize("make", [resnet, densenet])
def test_round_trip(tmp_path, make, suffix):
    model, path = randomize(make()), tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        weights.save(model, path)
    elif suffix == ".keras":
        model.save(path)
    else:
        model.save_weights(path)
    other = weights.load(randomize(make(), seed=1), path)
    np.testing.assert_array_equal(outputs(other), outputs(model))


@pytest.mark.slow
@pytest.mark.parametrize("saved_as", ["safetensors", "timm", "keras", "copy"])
def test_stack_and_blocks_load_the_same_file(tmp_path, saved_as):
    for stacked in (True, False):
        model, other = randomize(resnet(stacked=stacked)), randomize(resnet(stacked=not stacked), seed=1)
        if saved_as == "copy":
            weights.copy(model, other)
        elif saved_as == "keras":
            model.save(tmp_path / "w.keras")
            weights.load(other, tmp_path / "w.keras")
        else:
            layout = {"safetensors": "keras_sd"}.get(saved_as, saved_as)
            weights.load(other, weights.save(model, tmp_path / "w.safetensors", layout))
        np.testing.assert_allclose(outputs(other), outputs(model), atol=1e-5)


@pytest.fixture(scope="module")
def keras_model():
    """Models of keras.applications with random weights, made once."""
    made = {}

    def make(name, **arguments):
        if name not in made:
            factory = getattr(keras.applications, name)
            made[name] = randomize(factory(weights=None, input_shape=SHAPE, classes=7, classifier_activation=None))
        return made[name]

    return make


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are saving")
@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.large) for name in KERAS_FAMILIES[:2]), KERAS_FAMILIES[2]]
)
def test_keras_applications(tmp_path, keras_model, name):
    theirs, factory = keras_model(name), getattr(applications, name)
    common = {"weights": None, "input_shape": SHAPE, "classifier_activation": None}
    expected = outputs(theirs)
    ours = weights.copy(theirs, factory(classes=7, **common))
    np.testing.assert_allclose(outputs(ours), expected, atol=1e-5)
    theirs.save(tmp_path / "top.h5")
    theirs.save_weights(tmp_path / "top.weights.h5")
    for file in ("top.h5", "top.weights.h5"):
        ours = factory(classes=7, **(common | {"weights": tmp_path / file}))
        np.testing.assert_allclose(outputs(ours), expected, atol=1e-5)
    headless = weights.load(factory(include_top=False, pooling="avg", **common), tmp_path / "top.h5")
    features = keras.Model(theirs.input, theirs.layers[-2].output)
    np.testing.assert_allclose(outputs(headless), outputs(features), atol=1e-5)
    features.save(tmp_path / "no_top.h5")
    again = weights.load(factory(include_top=False, pooling="avg", **common), tmp_path / "no_top.h5")
    np.testing.assert_allclose(outputs(again), outputs(features), atol=1e-5)
    message = unchanged(ours, lambda: weights.load(ours, tmp_path / "no_top.h5"), "It lacks 2: head/kernel")
    assert "no_top.h5" in message


def keras_bottlenecks(top):
    """A small ResNet made of the parts of keras.applications, and the arguments that make ours."""
    from keras.src.applications import resnet as resnet_module

    def stacks(x):
        return resnet_module.stack_residual_blocks_v1(
            resnet_module.stack_residual_blocks_v1(x, 4, 2, stride1=1, name="conv2"), 8, 3, name="conv3"
        )

    network = resnet_module.ResNet(stacks, False, True, top, None, None, SHAPE, "avg", 7, None, "tiny")
    form = {"block": "bottleneck", "shortcut": "projection", "stem": "imagenet", "stem_filters": 64, "stacked": False}
    return network, resnet, {"blocks": (2, 3), "filters": (4, 8), **form}


def keras_densenet(top):
    from keras.src.applications.densenet import DenseNet

    network = DenseNet([1, 2, 1, 1], top, None, None, SHAPE, "avg", 7, None)
    return network, applications.DenseNet, {"blocks": (1, 2, 1, 1), "growth_rate": 32, "stem": "imagenet"}


@pytest.mark.slow
@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("make", [keras_bottlenecks, keras_densenet])
@pytest.mark.parametrize("top", [True, False])
def test_weights_that_keras_applications_saved(tmp_path, make, top):
    """Keras 3 numbers the layers of such a file by their class."""
    theirs, factory, form = make(top)
    randomize(theirs).save_weights(path := tmp_path / "x.weights.h5")
    common = {"input_shape": SHAPE, "classifier_activation": None, "include_top": top, "pooling": "avg", "classes": 7}
    ours = factory(weights=path, **form, **common)
    np.testing.assert_allclose(outputs(ours), outputs(theirs), atol=1e-5)
    deeper = randomize(factory(**form | {"blocks": (*form["blocks"][:-1], 4)}, **common))
    unchanged(deeper, lambda: weights.load(deeper, path), "x.weights.h5")


@pytest.mark.slow
def test_weights_that_keras_applications_saved_have_their_stride(tmp_path):
    theirs, factory, form = keras_bottlenecks(True)
    theirs.save_weights(path := tmp_path / "x.weights.h5")
    common = {"input_shape": SHAPE, "classes": 7}
    model = factory(**form, **common, stride_in="middle", use_bias=True)
    unchanged(model, lambda: weights.load(model, path), "was conv1 in training and is conv2 in the model")


def torch_resnet(blocks, filters, classes):
    """The CIFAR ResNet with option A of akamaster/pytorch_resnet_cifar10, written anew."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self, channels, width, stride):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
            self.stride, self.zeros = stride, (width - channels) // 2

        def forward(self, x):
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            shortcut = x[:, :, :: self.stride, :: self.stride]
            return F.relu(y + F.pad(shortcut, (0, 0, 0, 0, self.zeros, self.zeros)))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, filters[0], 3, 1, 1, bias=False), nn.BatchNorm2d(filters[0])
            widths = itertools.pairwise([filters[0], *filters])
            for stage, (count, (before, width)) in enumerate(zip(blocks, widths), 1):
                made = [Block(before if i == 0 else width, width, 1 + (i == 0 < stage - 1)) for i in range(count)]
                setattr(self, f"layer{stage}", nn.Sequential(*made))
            self.linear = nn.Linear(filters[-1], classes)

        def forward(self, x):
            x = F.relu(self.bn1(self.conv1(x)))
            for stage in range(1, len(blocks) + 1):
                x = getattr(self, f"layer{stage}")(x)
            return self.linear(x.mean((2, 3)))

        def logits(self, images):
            with torch.no_grad():
                return self.eval()(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()

    torch.manual_seed(0)
    net = Net()
    for name, value in net.state_dict().items():
        if value.ndim == 1:
            value.uniform_(0.5, 1.0) if name.endswith(("weight", "var")) else value.normal_(0, 0.1)
    return net


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize("new_format", [True, False])
def test_cifar_resnets_of_pytorch(tmp_path, stacked, new_format):
    import torch

    net = torch_resnet(TINY["blocks"], TINY["filters"], 10)
    state = {f"module.{name}": value for name, value in net.state_dict().items()}
    torch.save({"state_dict": state, "best_prec1": 1.0}, tmp_path / "w.th", _use_new_zipfile_serialization=new_format)
    model = weights.load(resnet(shortcut="slice", stacked=stacked), tmp_path / "w.th")
    images = np.random.default_rng(1).normal(size=(4, *SHAPE)).astype("float32")
    np.testing.assert_allclose(model(images), net.logits(images), atol=1e-4)


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.weights
@pytest.mark.parametrize("stacked", [True, False])
def test_published_resnet20(resnet20_file, stacked):
    import torch

    path = resnet20_file
    assert weights.verify(weights.get_row("ResNet20.cifar10").file, path).startswith("sha256 12fca82f")
    model = applications.ResNet20(weights=path, classifier_activation=None, stacked=stacked)
    net = torch_resnet((3, 3, 3), (16, 32, 64), 10)
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    net.load_state_dict({name.removeprefix("module."): value for name, value in state.items()}, strict=False)
    images = np.random.default_rng(1).normal(size=(64, *SHAPE)).astype("float32")
    np.testing.assert_allclose(model(images), net.logits(images), atol=1e-3)


TIMM_NAMES = {
    "stem/conv/kernel": ("conv1.weight", "features.conv0.weight"),
    "stem/norm/moving_variance": ("bn1.running_var", "features.norm0.running_var"),
    "stage2/block3/conv1/kernel": ("layer2.2.conv1.weight", None),
    "stage2/block1/norm2/beta": ("layer2.0.bn2.bias", None),
    "stage4/block1/shortcut/conv/kernel": ("layer4.0.downsample.0.weight", None),
    "stage4/block1/shortcut/norm/gamma": ("layer4.0.downsample.1.weight", None),
    "stage3/layer7/norm2/moving_mean": (None, "features.denseblock3.denselayer7.norm2.running_mean"),
    "stage1/layer1/conv1/kernel": (None, "features.denseblock1.denselayer1.conv1.weight"),
    "transition2/conv/kernel": (None, "features.transition2.conv.weight"),
    "final/norm/gamma": (None, "features.norm5.weight"),
    "head/kernel": ("fc.weight", "classifier.weight"),
    "head/bias": ("fc.bias", "classifier.bias"),
}


@pytest.mark.parametrize("name", TIMM_NAMES)
def test_names_of_timm(name):
    from keras_sd.weights.layouts import torch_name

    for is_dense, expected in enumerate(TIMM_NAMES[name]):
        if expected:
            assert torch_name(name, bool(is_dense)) == expected


def test_older_names_of_torchvision(tmp_path):
    """Before 2018 a layer of a DenseNet was `norm.1`, not `norm1`; counters of batches are no weights."""
    model = randomize(densenet())
    arrays = weights.read(weights.save(model, tmp_path / "new.safetensors", "timm")).arrays
    old = {name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): a for name, a in arrays.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    old["features.norm0.num_batches_tracked"] = np.int64(7)
    from keras_sd.weights.formats.safetensors import write_safetensors

    other = weights.load(randomize(densenet(), 1), write_safetensors(tmp_path / "old.safetensors", old))
    np.testing.assert_array_equal(outputs(other), outputs(model))


SMALL = {**TINY, "blocks": (1, 1), "classifier_activation": None}
BOTTLENECKS = {"block": "bottleneck", "shortcut": "projection", "stride_in": "middle", "use_bias": False}


def torch_file(path, arrays, **others):
    """A state dictionary as PyTorch's own file, next to other things."""
    import torch

    torch.save({"state_dict": {name: torch.tensor(array) for name, array in arrays.items()}, **others}, path)
    return path


def assert_same_weights(model, other):
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
@pytest.mark.torch
def test_a_checkpoint_with_weights_and_their_average(tmp_path, caplog):
    import torch

    raw, average = randomize(resnet(**SMALL)), randomize(resnet(**SMALL), 1)
    files = [weights.save(m, tmp_path / f"{m.name}{i}.safetensors", "timm") for i, m in enumerate((raw, average))]
    arrays, ema = (weights.read(file).arrays for file in files)
    ema = {f"module._orig_mod.{name}": torch.tensor(array) for name, array in ema.items()}
    path = torch_file(tmp_path / "w.pth.tar", arrays, state_dict_ema={"n_averaged": torch.tensor(9), **ema})
    model = applications.ResNet(weights=path, **SMALL)
    assert_same_weights(model, average)
    assert caplog.text.count("the average is used") == 1
    assert "use_ema=False" in caplog.text
    assert_same_weights(weights.load(model, path, use_ema=False), raw)
    assert_same_weights(applications.ResNet(weights=weights.read(path, use_ema=False), **SMALL), raw)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.module."])
def test_wrapped_modules(prefix):
    from keras_sd.weights.layouts import torch_arrays

    names = [f"{prefix}layer1._orig_mod.0.conv1.weight", f"{prefix}fc.bias", f"{prefix}bn1.num_batches_tracked"]
    file = weights.WeightsFile(Path("w.pth"), "pytorch", dict.fromkeys(names, np.zeros(2)))
    assert list(torch_arrays(file)) == ["layer1.0.conv1.weight", "fc.bias"]


@pytest.mark.parametrize("other", ["module.fc.bias", "_orig_mod.fc.bias", "linear.bias"])
def test_two_arrays_of_one_name(tmp_path, other):
    from keras_sd.weights.formats.safetensors import write_safetensors

    model = randomize(resnet(**SMALL))
    arrays = weights.read(weights.save(model, tmp_path / "w.safetensors", "timm")).arrays
    path = write_safetensors(tmp_path / "two.safetensors", arrays | {other: arrays["fc.bias"] + 1})
    unchanged(model, lambda: weights.load(model, path), f"'fc.bias' and '{other}'")


@pytest.mark.torch
@pytest.mark.parametrize("form", [BOTTLENECKS, {"shortcut": "projection"}, {"shortcut": "slice", "use_bias": True}])
def test_what_a_file_implies_need_not_be_said(tmp_path, form):
    source = randomize(resnet(**SMALL, **form))
    path = weights.save(source, tmp_path / "w.safetensors", "timm")
    said = {"block": "bottleneck"} if "block" in form else {}
    assert_same_weights(applications.ResNet(weights=path, **SMALL, **said), source)
    bare = torch_file(tmp_path / "w.pth", weights.read(path).arrays)
    said |= {"shortcut": "slice"} if "slice" in form.values() else {}  # PyTorch's own file does not say this
    assert_same_weights(applications.ResNet(weights=bare, **SMALL, **said), source)


@pytest.mark.torch
def test_all_contradictions_of_a_file_are_listed_at_once(tmp_path):
    path = weights.save(resnet(**SMALL, **BOTTLENECKS), tmp_path / "w.safetensors", "timm")
    path = torch_file(tmp_path / "w.pth", weights.read(path).arrays)
    wrong = {"block": "bottleneck", "use_bias": True, "stride_in": "first", "shortcut": "average", "epsilon": 1e-3}
    with pytest.raises(ValueError, match=r"Received: use_bias=True, stride_in='first', shortcut='average'$") as error:
        applications.ResNet(weights=path, **SMALL, **wrong)
    assert "`use_bias` must be False and `stride_in` must be 'middle' and `shortcut` must be" in str(error.value)
    model = randomize(resnet(**SMALL, **wrong | {"shortcut": "projection"}))
    message = unchanged(model, lambda: weights.load(model, path), "strided convolution of stage2/block1 was conv2")
    assert "use_bias=False" in message


# ------------------------------------------------------------------------------------------- what does not fit


def test_missing_unexpected_and_misshapen_are_listed_on_both_sides(tmp_path):
    from keras_sd.weights.formats.safetensors import write_safetensors

    model = randomize(resnet())
    arrays = weights.read(weights.save(model, tmp_path / "w.safetensors")).arrays
    del arrays["stage1/block1/conv1/kernel"]
    arrays["stage9/extra"] = np.zeros(3, "float32")
    arrays["stem/norm/gamma"] = np.zeros(5, "float32")
    path = write_safetensors(tmp_path / "bad.safetensors", arrays)
    message = unchanged(model, lambda: weights.load(model, path), "bad.safetensors")
    assert "It lacks 1: stage1/block1/conv1/kernel (3, 3, 4, 4)" in message
    assert "the model lacks 1: stage9/extra (3,)" in message
    assert "another shape 1: stem/norm/gamma (5,), expected (4,)" in message


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".weights.h5"])
@pytest.mark.parametrize("other", [{"blocks": (2, 2)}, {"filters": (4, 12)}, {"shortcut": "projection"}])
def test_wrong_architecture(tmp_path, suffix, other):
    source, path = randomize(resnet(**other), 1), tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        weights.save(source, path)
    else:
        source.save(path) if suffix == ".keras" else source.save_weights(path)
    model = randomize(resnet())
    unchanged(model, lambda: weights.load(model, path), str(path))


@pytest.mark.filterwarnings("ignore:You are saving")
def test_a_legacy_file_of_another_network(tmp_path):
    layers = keras.layers
    other = keras.Sequential([layers.Input(SHAPE), layers.Conv2D(4, 3), layers.Conv2D(4, 3)])
    other.save(tmp_path / "w.h5")
    model = randomize(resnet())
    unchanged(model, lambda: weights.load(model, tmp_path / "w.h5"), "has kernel, bias; expected kernel")


def test_copy_between_models_that_differ():
    model = randomize(resnet())
    message = unchanged(model, lambda: weights.copy(densenet(), model), "the model densenet does not fit resnet")
    assert "and" in message
    assert "more" in message


@pytest.mark.slow
def test_classes_other_than_the_file_s(tmp_path, caplog):
    path = weights.save(randomize(resnet()), tmp_path / "w.safetensors")
    model = randomize(resnet(classes=7), 1)
    message = unchanged(model, lambda: weights.load(model, path), r"head/bias \(10,\), expected \(7,\)")
    assert "adapt=True" in message
    head = keras.ops.convert_to_numpy(model.layers[-1].kernel)
    weights.load(model, path, adapt=True)
    np.testing.assert_array_equal(model.layers[-1].kernel, head)
    assert "The classifier is new" in caplog.text
    features = [keras.Model(m.input, m.layers[-2].output) for m in (model, weights.load(resnet(), path))]
    np.testing.assert_array_equal(*map(outputs, features))


@pytest.mark.parametrize("channels", [1, 6, 5])
def test_other_input_channels(tmp_path, caplog, channels):
    """Channels that hold copies of each other give the outputs of the file's own network."""
    source = randomize(resnet())
    path = weights.save(source, tmp_path / "w.safetensors")
    model = randomize(resnet(input_shape=(32, 32, channels)), 1)
    unchanged(model, lambda: weights.load(model, path), "stem/conv/kernel")
    weights.load(model, path, adapt=True)
    assert f"is adapted from 3 to {channels} channels" in caplog.text
    if channels != 5:
        image = np.random.default_rng(2).normal(size=(2, 32, 32, 1 if channels == 1 else 3)).astype("float32")
        theirs = np.repeat(image, 3, -1) if channels == 1 else image
        ours = image if channels == 1 else np.concatenate([image, image], -1)
        np.testing.assert_allclose(model(ours), source(theirs), atol=1e-4)


def test_adapting_accepts_nothing_else(tmp_path):
    path = weights.save(randomize(resnet(blocks=(2, 2))), tmp_path / "w.safetensors")
    model = randomize(resnet(classes=7))
    unchanged(model, lambda: weights.load(model, path, adapt=True), "It lacks 10: stage2/block3")


@pytest.mark.slow
def test_save_refuses_what_it_cannot(tmp_path):
    with pytest.raises(ValueError, match="Received: layout='onnx'"):
        weights.save(resnet(), tmp_path / "w.safetensors", "onnx")
    with pytest.raises(ValueError, match=r"must be a path that ends in \.safetensors"):
        weights.save(resnet(), tmp_path / "w.h5")
    assert os.listdir(tmp_path) == []


def test_half_precision_files(tmp_path):
    """Files in bfloat16 load into float32 models, rounded as they are."""
    import ml_dtypes

    from keras_sd.weights.formats.safetensors import write_safetensors

    model = randomize(resnet())
    arrays = weights.read(weights.save(model, tmp_path / "w.safetensors")).arrays
    rounded = {name: a.astype(ml_dtypes.bfloat16) for name, a in arrays.items()}
    other = weights.load(randomize(resnet(), 1), write_safetensors(Path(tmp_path) / "half.safetensors", rounded))
    np.testing.assert_array_equal(other.layers[-1].kernel, rounded["head/kernel"].astype("float32"))
