"""A toy model learns two real video clips by heart, in ten minutes of two CPU cores: proof that learning works.

    vglamm train --config train_tiny_davis --config.files.0.path=DAVIS --config.evaluation.files.0.path=DAVIS
    vglamm ask DAVIS/JPEGImages/blackswan "Please segment the black swan swimming along the river in this video." \\
        --checkpoint runs/tiny_davis/model --every-frame

DAVIS is a folder with JPEGImages, Annotations and meta_expressions.json. All starts at random; the image encoders stay
random, too, so that what is learnt cannot be more than these clips: J&F is 0.96 on all frames of both.
"""

import dataclasses

from vglamm_jax.config import load_config
from vglamm_jax.data.conversation import ConversationRule
from vglamm_jax.data.frames import FrameRule
from vglamm_jax.data.pack import PackConfig
from vglamm_jax.data.pipeline import DataConfig
from vglamm_jax.train.config import EvaluationConfig, FilesConfig, OptimizerConfig, TrainConfig

CLIPS = ("blackswan", "car-shadow")


def get_config() -> TrainConfig:
    tiny = load_config("tiny")
    # Twice the size for SAM2, as masks have outlines; a decoder of half the width, as a CPU has few FLOPs. A mask is
    # never given up for one of the multi-masks, which training does not touch.
    sam2 = dataclasses.replace(
        tiny.sam2,
        image_size=256,
        width=128,
        memory_width=16,
        decoder_mlp=128,
        iou_head_width=32,
        stability_threshold=0.0,
    )
    # Masks are learnt in frames that are seen: any of the clip, so that each frame is learnt at some time.
    frames = FrameRule(seen="random", supervised="random")
    return TrainConfig(
        model=dataclasses.replace(tiny, sam2=sam2, frames=4, mask_path="framewise"),
        data=DataConfig(
            pack=PackConfig(lengths=(192,), slots=1, frames=2, mask_size=256),
            conversation=ConversationRule(max_objects=1, wording="as_written"),
            augment=None,
        ),
        files=(FilesConfig(path="data/davis", ids=CLIPS, frames=frames),),
        workdir="runs/tiny_davis",
        steps=2000,
        batch_size=2,
        trainable=("llm", "mm_projector", "image_mm_projector", "text_hidden_fcs", "mask_decoder"),
        optimizer=OptimizerConfig(learning_rate=2e-3, warmup=50, schedule="cosine", ema=0.99),
        remat=False,
        log_every=50,
        save_every=1000,
        evaluation=EvaluationConfig(
            every=1000, batches=25, files=(FilesConfig(path="data/davis", ids=CLIPS, frames=frames),)
        ),
    )
