"""The published recipe: LoRA and the original's trainable parts, on the original's mixture (facts 5).

    vglamm train --config train_lora --distributed

The mesh follows the number of chips: weights in up to 128 parts, copies of that beyond. On 16 chips a row for each is
--config.accumulate=16. `vglamm aot train` compares meshes and batches without a pod.

`start` is a folder of `vglamm convert` with Phi-3, CLIP, InternVideo2 and SAM2 in it, and the adapters of
train_adapters.py; `data/built` is what `vglamm data build` wrote.
"""

import dataclasses

from vglamm_jax.config import LoraConfig, load_config
from vglamm_jax.data.pack import PackConfig
from vglamm_jax.data.pipeline import DataConfig
from vglamm_jax.data.shares import Share
from vglamm_jax.train.config import EvaluationConfig, MeshConfig, OptimizerConfig, StartConfig, TrainConfig


def get_config(model: str = "videoglamm_phi3") -> TrainConfig:
    whole = load_config(model)
    lora = LoraConfig(rank=8, alpha=16, dropout=0.05, targets=whole.llm.lora_targets("q_proj,v_proj"))
    tokens = ("embed_tokens",) if whole.llm.tie_embeddings else ("embed_tokens", "lm_head")
    return TrainConfig(
        model=dataclasses.replace(whole, llm=dataclasses.replace(whole.llm, lora=lora)),
        start=StartConfig(checkpoint="weights/start", parts=("runs/adapters/model",)),
        trainable=("lora", *tokens, "text_hidden_fcs", "mask_decoder"),
        data=DataConfig(pack=PackConfig(lengths=(1024, 2048, 4096), slots=4, frames=8), threads=16, ahead=4),
        mixture=load_config("data_videoglamm"),
        built="data/built",
        workdir="runs/lora",
        steps=5000,
        batch_size=256,
        # The original: AdamW, 3e-4, warm-up of 100 steps, then linear to 0, no weight decay, clipped at 1.
        optimizer=OptimizerConfig(learning_rate=3e-4, warmup=100, schedule="linear", betas=(0.9, 0.95), clip=1.0),
        mesh=MeshConfig(data=-1, fsdp=-1, tensor=1),
        remat="dots",
        evaluation=EvaluationConfig(
            every=500, mixture=(Share(names=("mevis",), split="valid_u"), Share(names=("refer_davis",), split="valid"))
        ),
    )
