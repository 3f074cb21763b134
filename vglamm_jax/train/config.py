"""One experiment: model, data, what is learnt, how, and where. Files in `configs/train_*.py` fill it in.

The losses, the forward pass and the optimiser each read fields of `TrainConfig` by name; nothing else is global.
"""

import dataclasses
from typing import Literal

from vglamm_jax.config import VideoGlammConfig, config
from vglamm_jax.data.frames import FrameRule
from vglamm_jax.data.pipeline import DataConfig
from vglamm_jax.data.shares import Share

Decoder = Literal["framewise", "tracked"]
Schedule = Literal["linear", "cosine", "constant"]
Protocol = Literal["default", "reference"]


@config
class StartConfig:
    """Where the weights come from before the first step.

    checkpoint: anything `vglamm ask --checkpoint` takes; None starts from random weights, for tiny models.
    clip, internvideo2, sam2: its towers, where they do not lie beside it.
    parts: Orbax folders of `vglamm convert` that replace what the checkpoint says, the last one winning: adapters of
    an earlier stage, or the model that an earlier run has exported.
    tokenizer: its folder, where it is not the checkpoint's.
    """

    checkpoint: str | None = None
    clip: str | None = None
    internvideo2: str | None = None
    sam2: str | None = None
    parts: tuple[str, ...] = ()
    tokenizer: str | None = None


@config
class FilesConfig:
    """Own data, or a public set in its published layout, read as it lies there (see `vglamm data validate`).

    source: the name of a public set; None for own data, whose form is found out.
    ids: these examples alone; empty for all.
    """

    path: str
    split: str | None = None
    source: str | None = None
    ids: tuple[str, ...] = ()
    weight: float = 1.0
    frames: FrameRule | None = None


@config
class OptimizerConfig:
    """AdamW; the defaults are the original's (facts 5.5).

    warmup: steps from 0 to the learning rate; then it falls to `final` times it at the last step, by `schedule`.
    clip: largest global norm of a gradient. ema: decay of an average of the weights kept beside them, None for none.
    """

    learning_rate: float = 3e-4
    warmup: int = 100
    schedule: Schedule = "linear"
    final: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip: float | None = 1.0
    ema: float | None = None


@config
class MeshConfig:
    """How many devices along each axis; -1 takes what the others leave.

    With both "data" and "fsdp" -1, "fsdp" is as many of a slice as divide it, up to 128: more would cut matrices into
    parts of so few rows that a TPU has to put them in order again after each gather.

    slices: groups of devices joined by the slower data-centre network; "data" must be a multiple of them, and only
    that axis crosses from one to the other.
    """

    data: int = -1
    fsdp: int = -1
    tensor: int = 1
    slices: int = 1


@config
class EvaluationConfig:
    """Every so many steps (0: never) the masks of `batches` batches of these sources are scored, J&F and mIoU."""

    every: int = 0
    batches: int = 4
    batch_size: int | None = None  # None: as in training
    mixture: tuple[Share, ...] = ()
    files: tuple[FilesConfig, ...] = ()
    samples: int = 4  # pictures of rows with their masks drawn in


@config
class TrainConfig:
    """Everything `vglamm train` needs to know.

    workdir: checkpoints, metrics and the finished model go there; a run that finds its checkpoints goes on.
    trainable: names that `train.trainable` knows; the rest is frozen.
    accumulate: micro-batches a step is made of; `batch_size` counts the rows of all of them on all devices.
    compute: dtype of the forward pass; None is bfloat16, but float32 on a CPU. What is learnt is kept in float32.
    decoder: masks of the supervised frames one by one ("framewise", the original) or through memory ("tracked").
    protocol: "reference" counts padded mask slots and steps the schedule as the original does.
    features: a folder that keeps what the frozen encoders say of each picture, see `train.features`; None for none.
    remat: what the backward pass computes again: nothing, every block, or all of it but what takes long ("dots": matrix
    products, attention), for which a row of 4096 positions takes 9 GiB in Phi-3.
    """

    model: VideoGlammConfig
    data: DataConfig
    workdir: str
    steps: int
    batch_size: int
    accumulate: int = 1
    start: StartConfig = dataclasses.field(default_factory=StartConfig)
    mixture: tuple[Share, ...] = ()
    files: tuple[FilesConfig, ...] = ()
    built: str = "built"  # the folder of `vglamm data build`
    trainable: tuple[str, ...] = ()
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
    ce_weight: float = 1.0
    bce_weight: float = 2.0
    dice_weight: float = 0.5
    decoder: Decoder = "framewise"
    protocol: Protocol = "default"
    remat: bool | Literal["dots"] = True
    compute: Literal["float32", "bfloat16"] | None = None
    features: str | None = None
    seed: int = 0
    log_every: int = 10
    save_every: int = 500
    keep: int = 3  # checkpoints; the oldest go
    tensorboard: bool = True
    export: bool = True  # write the finished model to workdir/model, for `vglamm ask` and `vglamm convert`
