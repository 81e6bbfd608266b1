"""What `weights=` may be."""

import pytest

from keras_sd.weights import find, get_row
from keras_sd.weights.sources import required_arguments, resolve


@pytest.fixture(autouse=True)
def keras_state():
    """Nothing here touches Keras."""


def test_tags_files_and_directories(tmp_path):
    assert resolve("ResNet50", "a1_in1k").row is get_row("ResNet50.a1_in1k")
    assert resolve("ResNet50", "imagenet", include_top=False).row is find("ResNet50", "imagenet", False)
    file = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match="does not exist"):
        resolve("ResNet20", file)
    with pytest.raises(ValueError, match=r"holds no model\.safetensors"):
        resolve("ResNet20", tmp_path)
    file.write_bytes(b"")
    assert resolve("ResNet20", file).path() == file
    assert resolve("ResNet20", str(tmp_path)).path() == file


def test_the_hub():
    assert resolve("ResNet50", "hf://timm/resnet50.a1_in1k").row is get_row("ResNet50.a1_in1k")
    row = resolve("ResNet50", "hf://someone/net").row
    assert row.url == "https://huggingface.co/someone/net/resolve/main/model.safetensors"
    assert (row.sha256, row.filename) == (None, "ResNet50.someone--net.safetensors")
    for wrong in ("hf://timm", "hf://timm/../x", "hf://a/b/c", "hf://a/b?x"):
        with pytest.raises(ValueError, match="hf://owner/name"):
            resolve("ResNet50", wrong)


@pytest.mark.parametrize("wrong", [3, True, "imagent", b"imagenet"])
def test_none_of_these(wrong):
    with pytest.raises(ValueError, match=r"`weights` must be|has no weights 'imagent'"):
        resolve("ResNet50", wrong)


def test_arguments_that_weights_need():
    row = get_row("ResNet50.a1_in1k")
    assert required_arguments(row, {}) == {"epsilon": 1e-5, "use_bias": False, "stride_in": "middle"}
    assert required_arguments(row, {"stride_in": "middle"})
    with pytest.raises(ValueError, match=r"`stride_in` must be 'middle' .*Received: stride_in='first'"):
        required_arguments(row, {"stride_in": "first"})


def test_stochastic_depth_upon_weights_of_constant_depth():
    row = get_row("ResNet20.cifar10")
    for stochastic in ({"survival_probability": 0.5}, {"survival_schedule": (1.0, 0.5)}):
        assert required_arguments(row, {**stochastic, "scaling": "training"})
        with pytest.raises(ValueError, match='`scaling` must be "training"'):
            required_arguments(row, stochastic)
