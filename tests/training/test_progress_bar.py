"""The bar of a training in terminals of several widths."""

import io
import re

import pytest
from rich.console import Console

from keras_sd import applications
from keras_sd.training.progress_bar import Bar


def last_line(width, epochs, steps):
    """What a terminal of this width shows after seven steps, without its colors."""
    screen = io.StringIO()
    bar = Bar(Console(file=screen, force_terminal=True, width=width), batch_size=64)
    bar.set_params({"epochs": epochs, "steps": steps})
    bar.set_model(applications.ResNet(depth=8, survival_probability=0.5))
    bar.on_train_begin()
    bar.on_epoch_begin(0)
    bar.on_train_batch_end(6, {"loss": 2.2565, "accuracy": 0.1234})
    bar.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    return [line.rstrip() for line in re.split(r"[\r\n]+", shown) if line.strip()][-1]


@pytest.mark.parametrize(
    ("width", "shown", "left_out"),
    [
        (60, ["accuracy 0.1234"], ["loss", "images/s", "depth"]),
        (80, ["accuracy 0.1234", "loss 2.2565"], ["images/s", "depth"]),
        (130, ["accuracy 0.1234", "loss 2.2565", "images/s", "depth 2.0 of 3"], []),
    ],
)
def test_what_is_needed_first_stays(width, shown, left_out):
    line = last_line(width, 40, 19)
    assert len(line) <= width
    for text in ["epoch 1/40", "step 7/19", "━", "left", *shown]:
        assert text in line
    for text in left_out:
        assert text not in line


def test_many_epochs_and_steps_at_80_columns():
    line = last_line(80, 182, 10000)
    assert len(line) <= 80
    assert re.search(r"epoch 1/182  step 7/10000 ━+ \S+ left  accuracy 0.1234", line)
