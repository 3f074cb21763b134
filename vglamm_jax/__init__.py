"""VideoGLaMM in JAX: answers about a video whose phrases are grounded in masks over every frame."""

__version__ = "0.1.0"


def load(folder, **options):
    """Loads a checkpoint for asking questions; see `vglamm_jax.infer.predictor.load`."""
    from vglamm_jax.infer.predictor import load

    return load(folder, **options)
