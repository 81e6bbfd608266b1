"""Transfer of a run to resume: process 0 has its folder, and the other processes resume a copy of their own."""

import io
import os
import zipfile

from keras_sd.backend import devices
from keras_sd.training.checkpoint import Checkpoints, encode, filename
from keras_sd.training.run_folder import RunFolder


def send_run(folder: RunFolder | None) -> None:
    """Send configuration and newest checkpoint to the other processes, which must call `receive_run` meanwhile.

    Args:
        folder: The `RunFolder`, locked; `None` if there is no run yet.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as files:
        if folder is not None:
            files.write(folder.config, folder.config.name)
            if (saved := Checkpoints(folder.checkpoints).newest()) is not None:
                files.writestr(f"{folder.checkpoints.name}/{filename(saved.step)}", encode(saved))
    devices.from_first(content.getvalue())


def receive_run(path: str | os.PathLike) -> None:
    """Write what process 0 sends into a new folder; if process 0 has no run yet, the folder stays empty."""
    with zipfile.ZipFile(io.BytesIO(devices.from_first(b""))) as files:
        files.extractall(path)
