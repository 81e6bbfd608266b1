"""Exchange between processes on engines that train in one: what this process has is what all have."""


def any_process(flag: bool, step: int = 0) -> bool:
    """Return the flag."""
    return flag


def from_first(content: bytes) -> bytes:
    """Return the bytes."""
    return content
