"""Operations that give the same bits in every run."""


def enable_determinism() -> None:
    """Do nothing: JAX on the CPU is deterministic as it is; on a GPU its flags are XLA's, set before it starts."""
