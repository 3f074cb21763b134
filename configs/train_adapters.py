"""Stage one, alignment: only what carries images into the language model learns, from captions without masks.

    vglamm train --config train_adapters --distributed

Then train_lora.py takes the projectors from `runs/adapters/model` (its `start.parts`). In the original, LoRA freezes
the projectors whatever its options say (facts 5.1); here they train when they are named.
"""

from vglamm_jax.config import load_config
from vglamm_jax.data.pack import PackConfig
from vglamm_jax.data.pipeline import DataConfig
from vglamm_jax.data.shares import Share
from vglamm_jax.train.config import OptimizerConfig, StartConfig, TrainConfig


def get_config(model: str = "videoglamm_phi3") -> TrainConfig:
    return TrainConfig(
        model=load_config(model),
        start=StartConfig(checkpoint="weights/start"),
        # No published checkpoint has text_hidden_fcs: without masks it stays random here, and the next stage learns it.
        trainable=("mm_projector", "image_mm_projector", "text_hidden_fcs"),
        data=DataConfig(pack=PackConfig(lengths=(1024, 2048, 4096), slots=4, frames=1), threads=16, ahead=4),
        mixture=(Share(names=("llava_instruct",)), Share(names=("video_instruct",))),
        built="data/built",
        workdir="runs/adapters",
        steps=2000,
        batch_size=256,
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup=60, schedule="cosine"),
        bce_weight=0.0,  # nothing here has masks
        dice_weight=0.0,
    )
