"""A published file: its address, and the hash that its content is checked against."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes:
        url: The address.
        sha256: The file's SHA-256, or the first digits of it, as published in the file name; None if it is not known.
            The download is then checked against the SHA-256 that the Hugging Face hub states for the file.
        md5: The MD5 that Keras publishes for its files; None for other files.
        size: Size in bytes, if known.
        filename: Name in the cache; defaults to the published one.
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
        """Hash algorithm and published digest, possibly only the first digits; None if not known."""
        known = {"sha256": self.sha256, "md5": self.md5}
        return next(((algorithm, digest) for algorithm, digest in known.items() if digest), None)
