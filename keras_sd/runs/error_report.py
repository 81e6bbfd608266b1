"""Errors of a classifier: accuracy by class, a confusion matrix, and the most wrong predictions."""

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_sd.training.curves import save_figure
from keras_sd.utils.files import write_atomically
from keras_sd.utils.tensors import of_engine

_WORST = 25  # images in the contact sheet
_NAMED = 40  # most classes for which a confusion matrix has room for names


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions of a classifier for a split of a data set, in stored order.

    Args:
        labels: Integer array `(n,)`.
        scores: Float array `(n, classes)`.
    """

    labels: np.ndarray
    scores: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """The most likely classes, an integer array `(n,)`."""
        return self.scores.argmax(-1)

    def top(self, count: int) -> float:
        """Return the fraction of the images whose class is among the `count` most likely ones."""
        best = np.argsort(-self.scores, axis=-1, kind="stable")[:, :count]
        return float((best == self.labels[:, None]).any(-1).mean())

    def confusion(self) -> np.ndarray:
        """Return how many images of each class (rows) are predicted to be of each class (columns)."""
        matrix = np.zeros((self.scores.shape[1],) * 2, int)
        np.add.at(matrix, (self.labels, self.predicted), 1)
        return matrix

    def most_wrong(self, count: int = _WORST) -> np.ndarray:
        """Return the indices of the images with the highest score of a wrong class, the highest first."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        return wrong[np.argsort(-self.scores[wrong].max(-1), kind="stable")][:count]


def predict(model: keras.Model, dataset: Any, part: str = "test") -> Predictions:
    """Return the `Predictions` of a model for a split of a data set."""
    found = [(labels.numpy(), model.predict_on_batch(of_engine(images))) for images, labels in dataset.batches(part)]
    labels, scores = zip(*found)
    return Predictions(np.concatenate(labels), np.concatenate(scores))


def write_report(model: keras.Model, dataset: Any, folder: Path) -> dict[str, float]:
    """Write `report.json`, `classes.csv`, `confusion.png` and `most_wrong.png` for a model on the test split.

    Args:
        model: A classifier.
        dataset: A `keras_sd.data.Dataset`.
        folder: Path of the folder, created if missing.

    Returns:
        Top-1 and top-5 accuracy, as in `report.json`.
    """
    predictions = predict(model, dataset)
    confusion, names = predictions.confusion(), dataset.class_names
    scores = {"top1": predictions.top(1), "top5": predictions.top(5), "images": len(predictions.labels)}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "report.json", (json.dumps(scores, indent=2) + "\n").encode())
    write_atomically(folder / "classes.csv", _classes(names, confusion).encode())
    _draw_confusion(confusion, names, folder / "confusion.png")
    _draw_most_wrong(predictions, dataset, folder / "most_wrong.png")
    return scores


def _classes(names, confusion):
    """Return a CSV table with the images and accuracy of each class, and the class most often predicted instead."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("class", "images", "accuracy", "most_often_taken_for"))
    for index, (name, row) in enumerate(zip(names, confusion)):
        others = np.where(np.arange(len(row)) == index, 0, row)
        accuracy = f"{row[index] / row.sum():.4f}" if row.sum() else ""
        table.writerow((name, row.sum(), accuracy, names[others.argmax()] if others.any() else ""))
    return text.getvalue()


def _draw_confusion(confusion, names, path):
    from matplotlib.figure import Figure

    side = min(12, 3 + 0.3 * len(names))
    figure = Figure(figsize=(side + 1, side), dpi=120, layout="constrained")
    axes = figure.subplots()
    fractions = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    image = axes.imshow(fractions, cmap="viridis", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="fraction of the class")
    axes.set(xlabel="predicted class", ylabel="class")
    if len(names) <= _NAMED:
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
    if len(names) <= _NAMED / 2:
        for (row, column), count in np.ndenumerate(confusion):
            color = "black" if fractions[row, column] > 0.5 else "white"
            axes.text(column, row, count or "", ha="center", va="center", color=color, fontsize=8)
    save_figure(figure, path)


def _draw_most_wrong(predictions, dataset, path):
    from matplotlib.figure import Figure

    rows = predictions.most_wrong()
    columns = min(5, max(1, len(rows)))
    lines = max(1, -(-len(rows) // columns))
    figure = Figure(figsize=(1.8 * columns, 0.4 + 2.1 * lines), dpi=120, layout="constrained")
    panels = np.ravel(figure.subplots(lines, columns, squeeze=False))
    for axes in panels:
        axes.set_axis_off()
    for axes, row, pixels in zip(panels, rows, _pixels(dataset, rows)):
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        scores, label = predictions.scores[row], predictions.labels[row]
        guess = scores.argmax()
        names = dataset.class_names
        axes.set_title(f"{names[guess]} {scores[guess]:.2f}\nis {names[label]} {scores[label]:.2f}", fontsize=8)
    figure.suptitle("Most wrong" if len(rows) else "No image is wrong")
    save_figure(figure, path)


def _pixels(dataset, rows):
    """Return test images by index, as the network sees them, with values from 0 to 255."""
    wanted, found, begin = set(rows.tolist()), {}, 0
    for images, _ in dataset.batches("test"):
        for row in wanted.intersection(range(begin, begin + len(images))):
            stored = np.asarray(images[row - begin]) * np.array(dataset.std) + np.array(dataset.mean)
            pixels = np.clip(np.rint(stored * 255 / dataset.white), 0, 255).astype("uint8")
            found[row] = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        begin += len(images)
    return [found[row] for row in rows.tolist()]
