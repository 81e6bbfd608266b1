"""A file that somebody publishes: its address, and what its content is checked against."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes:
        url: The address.
        sha256: The file's SHA-256, or the part of it that is published in the file's name; None where it is not
            known. The Hugging Face hub then states it next to the file, and the download is checked against that.
        md5: The MD5 that Keras publishes for its files; None for the others.
        size: Bytes, where known.
        filename: Its name in the cache; by default the published one.
    """

    url: str
    sha256: str | None = None
    md5: str | None = None
    size: int | None = None
    filename: str = ""

    def __post_init__(self):
        object.__setattr__(self, "filename", self.filename or self.url.rpartition("/")[2])

    @property
    def digest(self) -> tuple[str, str] | None:
        """The name of a hash algorithm and the published digest, which may be the start of one; None: not known."""
        known = {"sha256": self.sha256, "md5": self.md5}
        return next(((algorithm, digest) for algorithm, digest in known.items() if digest), None)
