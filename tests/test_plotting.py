"""The style of figures: colors by kind of network, and ticks that can be read."""

import numpy as np
import pytest

from keras_sd.utils import plotting

KINDS = {
    "plain": ["plain 110", "PlainNet20"],
    "residual": ["residual 110", "ResNet56", "ResNet-20", "ResNet"],
    "stochastic": ["stochastic 110", "ResNet56, p 0.8"],
    "dense": ["dense 100", "DenseNet40", "DenseNet-BC"],
}


def test_a_kind_of_network_has_one_color_wherever_it_is_drawn():
    found = {kind: {plotting.colors([label])[label] for label in labels} for kind, labels in KINDS.items()}
    assert all(len(colors) == 1 for colors in found.values())
    assert len(set.union(*found.values())) == len(KINDS)


def test_networks_of_one_figure_have_different_colors():
    labels = ["ResNet56", "ResNet110", "ResNet56, p 0.8", "ResNet56, p 0.5", "mine", "yours"]
    assert len(set(plotting.colors(labels).values())) == len(labels)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.84, 1.8, ["1", "1.2", "1.4"]),
        (0.7, 4.8, ["1", "2"]),
        (2e4, 3e6, ["50k", "1M"]),
        (0.01, 2, ["0.05", "0.1", "1"]),
    ],
)
def test_labels_of_a_logarithmic_axis_are_plain_numbers(low, high, expected, tmp_path):
    figure, (axes,) = plotting.panels(1, 1, None)
    axes.plot([0, 1], [low, high])
    plotting.set_log_scale(axes, "y")
    plotting.save_figure(figure, tmp_path / "drawn.png")
    texts = [label.get_text() for label in axes.get_yticklabels()]
    assert set(expected) <= set(texts)
    assert not any("$" in text for text in texts)


def test_a_range_of_many_decades_has_powers_of_ten(tmp_path):
    figure, (axes,) = plotting.panels(1, 1, None)
    axes.plot([0, 1, 2], np.array([1e-18, 1e-9, 1e-2]))
    plotting.set_log_scale(axes, "y")
    plotting.save_figure(figure, tmp_path / "drawn.png")
    assert any("10^{" in label.get_text() for label in axes.get_yticklabels())
