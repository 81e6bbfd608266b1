"""Read weight files into arrays. The format is verified by content, not only by file name.

Readers do not run code from a file, and do not build or change models. Whatever a file contains, the result is arrays
of real numbers or a `WeightsError`, in time and memory of a few times the file's size.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import ml_dtypes
import numpy as np

from keras_sd.utils.checks import check_flag, shown
from keras_sd.weights.errors import WeightsError, describe_head, unreadable
from keras_sd.weights.formats.hdf5 import read_hdf5, read_keras_archive
from keras_sd.weights.formats.pytorch import read_pytorch
from keras_sd.weights.formats.safetensors import read_safetensors

SUFFIXES = (
    *(".safetensors", ".keras", ".weights.h5", ".h5", ".hdf5"),
    *(".th", ".pth", ".pt", ".bin", ".pth.tar", ".pt.tar", ".ckpt"),
)

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class WeightsFile:
    """The content of a weights file.

    Attributes:
        path: The file.
        format: "safetensors", "pytorch", "keras", "keras-weights" (`.weights.h5`) or "keras-legacy" (`.h5`).
        arrays: The arrays by the file's own names, in file order.
        layers: For "keras-legacy", the array names of each layer that has arrays, in layer order, which is how Keras
            itself reads such a file. Empty for other formats.
        metadata: Text next to the arrays, if the format has any; for a `.keras` file "config.json", its model.
    """

    path: Path
    format: str
    arrays: dict[str, np.ndarray]
    layers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


def read(path: str | os.PathLike, allow_nonfinite: bool = False, use_ema: bool = True) -> WeightsFile:
    """Read a weights file.

    Args:
        path: A `.safetensors`, `.keras`, `.weights.h5`, legacy Keras `.h5`, or PyTorch `.th`, `.pth`, `.pt`,
            `.bin`, `.ckpt` or `.pth.tar` file.
        allow_nonfinite: Whether arrays may contain NaN and infinity, as after a diverged training.
        use_ema: Whether to read the moving average from a PyTorch checkpoint that has weights (`state_dict`)
            and their average (`state_dict_ema`), as timm does. This is logged.

    Returns:
        A `WeightsFile`.

    Raises:
        WeightsError: If the file is missing, of an unknown kind, damaged, or contains something other than
            weights. The message is one line: the file, what was found and what was expected.
    """
    check_flag("allow_nonfinite", allow_nonfinite)
    path = Path(path)
    if not path.name.lower().endswith(SUFFIXES):
        raise WeightsError(f"Cannot read weights from '{path}': expected a name ending in {', '.join(SUFFIXES)}.")
    try:
        with open(path, "rb") as file:
            head = file.read(512)
        found = _read(path, head, use_ema)
        _check_numbers(found, allow_nonfinite)
        return found
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"Cannot read weights from '{path}': {error.strerror or error}.") from error
    except Exception as error:  # damage that the reader of the format does not anticipate
        raise unreadable(path, f"a damaged file ({shown(error)})", "a file of weights") from error


def _check_numbers(file: WeightsFile, allow_nonfinite: bool) -> None:
    """Raise if an array has values other than real numbers, or unless allowed, values that are not finite."""
    for name, array in file.arrays.items():
        is_float = array.dtype.kind == "f" or array.dtype == ml_dtypes.bfloat16
        if not is_float and array.dtype.kind not in "iub":
            raise unreadable(file.path, f"an array {shown(name)} of {array.dtype}", "real numbers")
        if is_float and not allow_nonfinite and not np.isfinite(array).all():
            raise unreadable(file.path, f"NaN or infinity in {shown(name)}", "finite numbers (allow_nonfinite=True)")


def _read(path: Path, head: bytes, use_ema: bool) -> WeightsFile:
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        if head[8:9] != b"{":
            raise unreadable(path, describe_head(head), "a safetensors file")
        arrays, metadata = read_safetensors(path)
        return WeightsFile(path, "safetensors", arrays, metadata=metadata)
    if suffix == ".keras":
        if head[:2] != b"PK":
            raise unreadable(path, describe_head(head), "a .keras archive")
        arrays, metadata = read_keras_archive(path)
        return WeightsFile(path, "keras", arrays, metadata=metadata)
    if suffix in (".h5", ".hdf5"):
        if not head.startswith(_HDF5_SIGNATURE):
            raise unreadable(path, describe_head(head), "an HDF5 file of Keras weights")
        arrays, layers = read_hdf5(path)
        return WeightsFile(path, "keras-legacy" if layers else "keras-weights", arrays, layers)
    if not head.startswith((b"PK", b"\x80\x02")):
        raise unreadable(path, describe_head(head), "a PyTorch file")
    return WeightsFile(path, "pytorch", read_pytorch(path, use_ema))
