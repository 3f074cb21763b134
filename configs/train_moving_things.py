"""A toy model on Moving Things, the endless made-up videos of `data/synthetic`: needs no files and no accelerator.

vglamm train --config train_moving_things
"""

from vglamm_jax.config import load_config
from vglamm_jax.data.conversation import ConversationRule
from vglamm_jax.data.pack import PackConfig
from vglamm_jax.data.pipeline import DataConfig
from vglamm_jax.data.shares import Share
from vglamm_jax.train.config import EvaluationConfig, OptimizerConfig, TrainConfig


def get_config() -> TrainConfig:
    return TrainConfig(
        model=load_config("tiny"),
        data=DataConfig(
            pack=PackConfig(lengths=(320, 512), slots=2, frames=2, mask_size=64),
            conversation=ConversationRule(max_objects=2, too_many="skip"),
        ),
        mixture=(Share(names=("moving_things",)),),
        trainable=("llm", "mm_projector", "image_mm_projector", "text_hidden_fcs", "mask_decoder", "memory"),
        workdir="runs/moving_things",
        steps=2000,
        batch_size=8,
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup=50, schedule="cosine"),
        decoder="tracked",
        remat=False,
        evaluation=EvaluationConfig(every=500, mixture=(Share(names=("moving_things",), split="validation"),)),
    )
