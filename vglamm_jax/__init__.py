"""VideoGLaMM in JAX: answers about a video whose phrases are grounded in masks over every frame."""

__version__ = "0.1.0"
