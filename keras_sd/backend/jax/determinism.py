"""Deterministic operations."""


def enable_determinism() -> None:
    """Do nothing: JAX is deterministic on the CPU; on a GPU this needs flags of XLA, set before it starts."""
