"""Every size and switch of the model, as plain dataclasses.

Full-size values live in `configs/` only: a field without a default here must be stated there.
The classes hash by value (flax needs that) but stay mutable so that `--config.llm.depth=2` works:
change a config before the model is built, never after.
"""

import dataclasses
import importlib.util
import traceback
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

config = dataclasses.dataclass(unsafe_hash=True, kw_only=True)

Encoders = Literal["both", "image", "video"]
MaskPath = Literal["tracked", "framewise"]


@config
class ClipConfig:
    """CLIP vision transformer, the spatial encoder (facts 1.2)."""

    image_size: int
    patch_size: int
    width: int
    depth: int  # blocks of the checkpoint; the last ones are not run, see `select_layer`
    heads: int
    mlp_width: int
    norm_eps: float = 1e-5
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"
    select_layer: int = -2  # of the depth + 1 hidden states

    @property
    def grid(self) -> int:
        return self.image_size // self.patch_size

    @property
    def blocks_run(self) -> int:
        return self.depth + 1 + self.select_layer if self.select_layer < 0 else self.select_layer


@config
class InternVideo2Heads:
    """Sizes of the parts of an InternVideo2 file that no forward pass here uses."""

    clip_embed: int
    clip_teacher: int
    final_teacher: int
    clip_layers: int
    proj: int


@config
class InternVideo2Config:
    """InternVideo2 stage-2 vision encoder, the temporal encoder (facts 1.3)."""

    image_size: int
    patch_size: int
    frames: int  # frames per clip (one clip = one batch element)
    width: int
    depth: int
    heads: int
    mlp_width: int
    norm_eps: float = 1e-6
    select_layer: int = -2  # block whose output is returned, counted as a Python index
    unused: InternVideo2Heads | None = None

    @property
    def grid(self) -> int:
        return self.image_size // self.patch_size

    @property
    def blocks_run(self) -> int:
        return self.select_layer % self.depth + 1


@config
class RopeScaling:
    """Llama-3 style frequency scaling."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int


@config
class LoraConfig:
    """Low-rank adaptation of matrices of the language model (facts 5.2)."""

    rank: int
    alpha: float
    targets: tuple[str, ...]  # last parts of names in `LlmConfig.linears`, e.g. from `LlmConfig.lora_targets`
    dropout: float = 0.0
    rslora: bool = False  # rank-stabilised: divide alpha by the root of the rank instead of the rank

    @property
    def scale(self) -> float:
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)


@config
class LlmConfig:
    """Decoder-only language model: Phi-3 and the Llama family (facts 1.6)."""

    vocab: int
    width: int
    depth: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_width: int
    max_positions: int
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    window: int | None = None  # keys a query sees, itself included; None = all
    fused: bool = False  # qkv_proj and gate_up_proj as in Phi-3, instead of q/k/v and gate/up
    tie_embeddings: bool = False
    lora: LoraConfig | None = None  # trained beside the matrices, which stay as they are

    @property
    def padded_vocab(self) -> int:
        return -(-self.vocab // 128) * 128

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """Every matrix of a block, `self_attn.o_proj` and so on, with its numbers of inputs and outputs."""
        width, queries, keys = self.width, self.heads * self.head_dim, self.kv_heads * self.head_dim
        if self.fused:
            attention = {"qkv_proj": (width, queries + 2 * keys)}
            gates = {"gate_up_proj": (width, 2 * self.mlp_width)}
        else:
            attention = {"q_proj": (width, queries), "k_proj": (width, keys), "v_proj": (width, keys)}
            gates = {"gate_proj": (width, self.mlp_width), "up_proj": (width, self.mlp_width)}
        attention["o_proj"], gates["down_proj"] = (queries, width), (self.mlp_width, width)
        return {f"self_attn.{k}": v for k, v in attention.items()} | {f"mlp.{k}": v for k, v in gates.items()}

    def lora_targets(self, substrings: str) -> tuple[str, ...]:
        """What the original's `--lora_target_modules` means: `q_proj,v_proj` is `("qkv_proj",)` in a Phi-3.

        A matrix is a target if its full name contains any of the comma-separated strings (facts 5.2).

        Raises:
          ValueError: nothing is hit.
        """
        wanted = [part.strip() for part in substrings.split(",") if part.strip()]
        hit = [name for name in self.linears if any(part in f"model.layers.{name}" for part in wanted)]
        if not hit:
            raise ValueError(f"LoRA targets {substrings!r} are part of no name of {', '.join(self.linears)}")
        return tuple(name.rpartition(".")[2] for name in hit)


@config
class HieraConfig:
    """Hiera, the image trunk of SAM2 (facts 1.9)."""

    width: int  # channels of the first stage; doubles at each further stage
    heads: int  # heads of the first stage; doubles too
    stages: tuple[int, ...]  # blocks per stage
    windows: tuple[int, ...]  # window per stage
    global_blocks: tuple[int, ...]  # indices of blocks with global attention
    pos_embed_grid: tuple[int, int] = (7, 7)
    norm_eps: float = 1e-6

    def stage_width(self, stage: int) -> int:
        return self.width * 2**stage

    def stage_heads(self, stage: int) -> int:
        return self.heads * 2**stage

    def first_block(self, stage: int) -> int:
        return sum(self.stages[:stage])


@config
class Sam2Config:
    """SAM2 and SAM2.1: image encoder, mask decoder and memory (facts 1.9 to 1.12)."""

    image_size: int
    hiera: HieraConfig
    width: int = 256  # d_model of neck, prompts, decoder and memory attention
    top_down_levels: tuple[int, ...] = (2, 3)
    memory_width: int = 64
    memory_attention_depth: int = 4
    memory_attention_mlp: int = 2048
    memory_fuser_depth: int = 2
    rope_theta: float = 10000.0
    num_memories: int = 7  # memory maps a frame attends to, the prompted frame included
    num_pointers: int = 16  # object pointers a frame attends to, the prompted frame included
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_mlp: int = 2048
    iou_head_width: int = 256
    num_multimask: int = 3
    mask_prompt_width: int = 16
    memory_dtype: str = "bfloat16"  # of stored memory maps, also where the model is float32 (facts 1.15)
    memory_sigmoid_scale: float = 20.0
    memory_sigmoid_bias: float = -10.0
    no_object_logit: float = -1024.0
    # A single-mask decode whose mask is not stable takes the best of the multi-masks instead.
    stability_delta: float = 0.05
    stability_threshold: float = 0.98
    # What SAM2.1 adds to SAM2.
    no_object_memory: bool = False  # `no_obj_embed_spatial`
    pointer_time: bool = False  # signed, projected temporal encoding on object pointers

    @property
    def grid(self) -> int:
        """Side of the feature map the decoder works on (stride 16)."""
        return self.image_size // 16


@config
class VideoGlammConfig:
    """The whole model. `configs/videoglamm_phi3.py` is the published one."""

    clip: ClipConfig
    internvideo2: InternVideo2Config
    llm: LlmConfig
    sam2: Sam2Config
    seg_token_id: int
    stop_ids: tuple[int, ...]
    pad_token_id: int = 0
    template: Literal["phi3", "llama3", "chatml"] = "phi3"
    encoders: Encoders = "both"  # table 4 of the paper
    mask_path: MaskPath = "tracked"  # table 5 of the paper
    frames: int = 16  # frames the dual encoder sees
    pool: int = 2  # side of the square of visual tokens averaged into one

    def __post_init__(self):
        if self.frames < 1 or (self.encoders != "image" and self.frames % self.internvideo2.frames):
            raise ValueError(
                f"frames is {self.frames}, which is not whole clips of internvideo2.frames = "
                f"{self.internvideo2.frames}: make it a multiple"
            )

    @property
    def clips(self) -> int:
        return self.frames // self.internvideo2.frames

    @property
    def video_tokens(self) -> int:
        """Rows a video puts into the language model: context images first, then clips."""
        image = self.frames * (self.clip.grid // self.pool) ** 2
        video = self.frames * (self.internvideo2.grid // self.pool) ** 2
        return {"both": image + video, "image": image, "video": video}[self.encoders]

    @property
    def image_tokens(self) -> int:
        """Rows a single image puts into the language model (no pooling, CLIP alone)."""
        return self.clip.grid**2


def to_json(cfg: Any) -> dict[str, Any]:
    """A config as plain JSON values; `from_json` gives it back."""
    return dataclasses.asdict(cfg)


def from_json(kind: type, values: dict[str, Any]) -> Any:
    """A config dataclass of class `kind` from what `to_json` made of it.

    Raises:
      ValueError: names an unknown or missing field.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    required = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    unknown, missing = sorted(set(values) - set(fields)), sorted(required - set(values))
    if unknown or missing:
        wrong = [f"unknown {', '.join(unknown)}"] * bool(unknown) + [f"missing {', '.join(missing)}"] * bool(missing)
        raise ValueError(f"{kind.__name__}: {' and '.join(wrong)}; it was written by another version of vglamm_jax")
    types = get_type_hints(kind)
    return kind(**{name: _typed(types[name], value) for name, value in values.items()})


def _typed(hint: Any, value: Any) -> Any:
    nested = next((t for t in (hint, *get_args(hint)) if dataclasses.is_dataclass(t)), None)
    if nested is not None and isinstance(value, dict):
        return from_json(nested, value)
    return tuple(value) if isinstance(value, list) else value


def load_config(where: str | Path):
    """What `get_config` of a config file returns.

    `where` is a path (`configs/tiny.py`) or a name of the shipped ones (`tiny`), with an argument for `get_config`
    after a colon if it takes one (`sam2:2.1-small`).

    Raises:
      FileNotFoundError: no such file; names the configs there are.
      ValueError: the file has no `get_config`, or fails: where and why.
    """
    name, _, argument = str(where).partition(":")
    path = _find_config(name)
    spec = importlib.util.spec_from_file_location(f"vglamm_config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if hasattr(module, "get_config"):
            return module.get_config(argument) if argument else module.get_config()
    except (ValueError, OSError):
        raise
    except Exception as error:  # whatever a file of the user's does
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == spec.origin]
        line = error.lineno if isinstance(error, SyntaxError) else [1, *lines][-1]
        raise ValueError(f"{path}:{line}: {type(error).__name__}: {error}") from error
    raise ValueError(f"{path} has no function get_config()")


def load_model_config(where: str | Path) -> VideoGlammConfig:
    """`load_config` where only the whole model's will do.

    Raises:
      FileNotFoundError, ValueError: as `load_config`; also where it is the config of something else.
    """
    cfg = load_config(where)
    if not isinstance(cfg, VideoGlammConfig):
        raise ValueError(
            f"config {str(where)!r} is a {type(cfg).__name__}; give one whose get_config() returns the whole model's "
            "VideoGlammConfig, such as videoglamm_phi3"
        )
    return cfg


def _find_config(name: str) -> Path:
    """A bare name is one of the shipped ones first: a file that happens to be called so here does not stand for it."""
    package = Path(__file__).resolve().parent
    shipped = [package.parent / "configs", package / "configs"]
    here = [Path(), package.parent, package]
    folders = shipped + here if name.isidentifier() else here + shipped
    for folder in folders:
        for path in (folder / name, folder / f"{name}.py"):
            if path.is_file() and path.suffix == ".py":
                return path
    known = sorted({path.stem for folder in folders for path in folder.glob("*.py") if folder.name == "configs"})
    raise FileNotFoundError(f"there is no config {name!r}: give a .py file, or one of {', '.join(known)}")
