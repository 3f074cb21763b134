"""Package metadata; tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

CORE = [
    # flax 0.12.8 breaks with jax 0.11.1 and later; Python 3.12 has a newer flax that does not.
    "jax>=0.10.2,<0.11.1; python_version < '3.12'",
    "flax>=0.12.8,<0.12.9; python_version < '3.12'",
    "jax>=0.12.0; python_version >= '3.12'",
    "flax>=0.12.12; python_version >= '3.12'",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12.8",
    "transformers>=5",
    "sentencepiece",
    "protobuf",
    "grain>=0.2.18",
    "tensorflow-datasets>=4.9.10",
    "einops",
    "ml-collections",
    "numpy",
    "pillow",
    "opencv-python-headless",
    "av>=14",
    "pycocotools",
    "safetensors>=0.5",
    "pyyaml",
    "tqdm",
]

EXTRAS = {
    "tpu": ["jax[tpu]", "etils[epath-gcs]"],  # the second: run folders in Google Cloud Storage
    "torch": ["torch>=2.2,<2.14"],
    "aot": ["jax[tpu]"],  # brings the libtpu that fits this jax; it compiles without a TPU
    "train": ["tensorboardX"],
    "data": ["h5py", "scipy"],  # A2D-Sentences and JHMDB-Sentences are stored in their formats
    "beam": ["apache-beam"],  # vglamm data build on many machines
    "dev": ["pytest", "pytest-xdist>=3.7", "ruff", "jax[tpu]", "h5py", "scipy", "tensorboardX"],
    "parity": ["torch>=2.2,<2.14", "peft"],  # what tests compare with
}

setup(
    name="vglamm_jax",
    version="0.1.0",
    description="VideoGLaMM in JAX: text grounded, phrase by phrase, in pixel masks over a whole video",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    # The configs are read by path; installed, they lie inside the package.
    packages=[*find_packages(include=["vglamm_jax", "vglamm_jax.*"]), "vglamm_jax.configs"],
    package_dir={"vglamm_jax.configs": "configs"},
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["vglamm = vglamm_jax.cli:main"]},
)
