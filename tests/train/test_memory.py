"""Too little memory is told in one line; other failures of XLA stay what they are."""

import jax
import jax.numpy as jnp
import pytest

from vglamm_jax.train.memory import DoesNotFit, fitting


def test_what_does_not_fit_names_the_fields_that_help():
    helps = r"raise accumulate, set remat=true, .* mesh.tensor; .*RESOURCE_EXHAUSTED"
    with pytest.raises(DoesNotFit, match=helps) as told, fitting():
        jax.block_until_ready(jax.jit(lambda: jnp.zeros(2**46))())
    assert "\n" not in str(told.value)


def test_other_failures_are_not_taken_for_it():
    def broken():
        raise OSError("no such thing")

    with pytest.raises(jax.errors.JaxRuntimeError, match="no such thing"), fitting():
        jax.block_until_ready(jax.jit(lambda: jax.pure_callback(broken, jax.ShapeDtypeStruct((), jnp.float32)))())
