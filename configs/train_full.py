"""Everything between the towers and the masks learns: the language model whole, projectors, mask decoder and memory.

    vglamm train --config train_full --distributed

Masks are followed through SAM2's memory over 8 supervised frames, as they are at inference. float32 masters and
moments take 12 bytes a parameter: 47 GB for Phi-3, spread over the devices along "fsdp".
"""

from vglamm_jax.config import load_config
from vglamm_jax.data.pack import PackConfig
from vglamm_jax.data.pipeline import DataConfig
from vglamm_jax.data.shares import Share
from vglamm_jax.train.config import EvaluationConfig, MeshConfig, OptimizerConfig, StartConfig, TrainConfig


def get_config(model: str = "videoglamm_phi3") -> TrainConfig:
    return TrainConfig(
        model=load_config(model),
        start=StartConfig(checkpoint="weights/start", parts=("runs/adapters/model",)),
        trainable=("llm", "mm_projector", "image_mm_projector", "text_hidden_fcs", "mask_decoder", "memory"),
        data=DataConfig(pack=PackConfig(lengths=(1024, 2048, 4096), slots=4, frames=8), threads=16, ahead=4),
        mixture=load_config("data_videoglamm"),
        built="data/built",
        workdir="runs/full",
        steps=10000,
        batch_size=256,
        optimizer=OptimizerConfig(learning_rate=2e-5, warmup=300, schedule="cosine", final=0.1, ema=0.999),
        mesh=MeshConfig(data=-1, fsdp=-1, tensor=1),
        decoder="tracked",
        remat="dots",
        evaluation=EvaluationConfig(
            every=500, mixture=(Share(names=("mevis",), split="valid_u"), Share(names=("refer_davis",), split="valid"))
        ),
    )
