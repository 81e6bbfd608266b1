"""Files: atomic writes (a file is written whole, or keeps what it had), and digests."""

import hashlib
import os
from pathlib import Path


def sha256(path):
    """Return the SHA-256 of a file's content as hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path, content):
    """Write bytes so that after a crash at any moment the file has all of them, or what it had before.

    Args:
        path: Path of the file, in a folder that exists.
        content: Bytes.

    Raises:
        OSError: The file cannot be written; what was there is kept.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)  # on a full disk it is in the way
        raise
    if os.name == "posix":  # the folder's entry, too
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
