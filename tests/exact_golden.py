"""The golden folder with the SAM2 weights its values were computed from.

The checkpoint of `videoglamm_tiny` stores every tensor in bfloat16, but 105 matrices of its SAM2 were not
representable in it: they are fresh draws of normal(0, 0.02), which the original makes for every matrix that the
language model's own files lack (facts 2.7), and they were rounded when the folder was written, after the values were
computed. The draws are those of PyTorch's generator with seed 11, from its 38,138,662th number on, in the order of
the checkpoint: drawn again, they round to exactly what is stored, each of them, which no other numbers would.
"""

import shutil
from pathlib import Path

SEED, DRAWN_BEFORE = 11, 38_138_662
PREFIX = "model.visual_model."
NOT_DRAWN = {"no_obj_ptr", "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"}


def drawn_weights(stored: dict) -> dict:
    """Name -> float32 matrix, for every matrix of SAM2 in the stored state dict."""
    import torch

    generator = torch.Generator().manual_seed(SEED)
    torch.rand(DRAWN_BEFORE, generator=generator)
    drawn = {}
    for name, tensor in stored.items():
        if name.startswith(PREFIX) and tensor.ndim == 2 and name.removeprefix(PREFIX) not in NOT_DRAWN:
            drawn[name] = torch.empty(tensor.shape).normal_(0, 0.02, generator=generator)
    return drawn


def restore(golden: Path, folder: Path) -> Path:
    """Copies the golden folder to `folder` with the exact weights in its checkpoint; returns `folder`."""
    import torch

    shutil.copytree(golden, folder)
    path = folder / "checkpoint" / "pytorch_model.bin"
    path.chmod(0o644)
    path.parent.chmod(0o755)
    stored = torch.load(path, weights_only=True)
    torch.save(stored | drawn_weights(stored), path)
    return folder
