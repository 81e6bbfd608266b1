"""What tests of layers share."""

import pytest
from engines import ON_JAX


@pytest.fixture
def float64():
    """JAX has float64 numbers only where it is told so."""
    if not ON_JAX:
        yield
        return
    import jax

    with jax.enable_x64(True):
        yield
