"""The conversion table: PyTorch names of every tensor of VideoGLaMM and its parts (facts section 2).

Each function of a config returns the rows of one component under its own file's names and its own
module's paths; `videoglamm` puts them under the prefixes of the complete checkpoint (facts 2.1).
Tensors that no forward pass here uses are `extras`: their names and shapes, carried as they are.
"""

from vglamm_jax.config import ClipConfig, InternVideo2Config, LlmConfig, VideoGlammConfig
from vglamm_jax.convert.rows import CONV2D, CONV3D, Row, Shape, Transform, flat, linear, norm, under
from vglamm_jax.convert.tables_sam2 import sam2

CLIP_PREFIX = "model.image_vision_tower.vision_tower."
INTERNVIDEO2_PREFIX = "model.vision_tower."
SAM2_PREFIX = "model.visual_model."

# What a file may hold besides (regular expressions on its names): buffers and the halves of a file that
# have no use here. Anything else that no row and no extra names is an error.
CLIP_IGNORED = (r"^text_model\.", r"^(visual|text)_projection\.", r"^logit_scale$", r"position_ids$")
INTERNVIDEO2_IGNORED = (
    r"^text_encoder\.",
    r"^text_proj\.",
    r"^itm_head\.",
    r"^temp$",
    r"^vision_proj\.",
    r"^vision_encoder\.(clip_|final_clip_|img_pos_embed)",
)
LLM_IGNORED = (r"rotary_emb\.inv_freq$",)
# The towers there are not trusted; one projector has no use in a model with one encoder.
VIDEOGLAMM_IGNORED = (r"^model\.(image_)?vision_tower\.", r"^model\.(image_)?mm_projector\.", *LLM_IGNORED)


def clip(cfg: ClipConfig) -> list[Row]:
    """`vision_model.*` of a transformers CLIP file -> `clip.ClipVision` (facts 2.4)."""
    block = flat(
        [
            norm("layer_norm1"),
            norm("layer_norm2"),
            *(linear(f"self_attn.{name}_proj") for name in ("q", "k", "v", "out")),
            linear("mlp.fc1"),
            linear("mlp.fc2"),
        ]
    )
    top = [
        Row("embeddings.class_embedding", "class_embedding"),
        *linear("embeddings.patch_embedding", "patch_embedding", bias=False, transform=CONV2D),
        Row("embeddings.position_embedding.weight", "position_embedding/embedding"),
        *norm("pre_layrnorm", "pre_layernorm"),
    ]
    return under("vision_model.", "", top + under("encoder.layers.{i}.", "blocks/{i}/", block, range(cfg.blocks_run)))


def clip_extras(cfg: ClipConfig) -> dict[str, Shape]:
    """Blocks after the selected layer and the final norm."""
    width, mlp = cfg.width, cfg.mlp_width
    vector = ("layer_norm1.weight", "layer_norm1.bias", "layer_norm2.weight", "layer_norm2.bias", "mlp.fc2.bias")
    block: dict[str, Shape] = dict.fromkeys(vector, (width,))
    for name in ("q", "k", "v", "out"):
        block |= {f"self_attn.{name}_proj.weight": (width, width), f"self_attn.{name}_proj.bias": (width,)}
    block |= {"mlp.fc1.weight": (mlp, width), "mlp.fc1.bias": (mlp,), "mlp.fc2.weight": (width, mlp)}
    extras: dict[str, Shape] = {f"vision_model.post_layernorm.{leaf}": (width,) for leaf in ("weight", "bias")}
    for i in range(cfg.blocks_run, cfg.depth):
        extras |= {f"vision_model.encoder.layers.{i}.{name}": shape for name, shape in block.items()}
    return extras


def internvideo2(cfg: InternVideo2Config) -> list[Row]:
    """`vision_encoder.*` of a stage-2 file -> `internvideo2.InternVideo2` (facts 2.3)."""
    block = flat(
        [
            norm("norm1", bias=False),
            linear("attn.qkv", bias=False),
            norm("attn.q_norm", bias=False),
            norm("attn.k_norm", bias=False),
            linear("attn.proj"),
            [Row("ls1.gamma", "ls1"), Row("ls2.gamma", "ls2")],
            norm("norm2", bias=False),
            linear("mlp.fc1"),
            linear("mlp.fc2"),
        ]
    )
    top = [
        Row("cls_token", "cls_token"),
        Row("pos_embed", "pos_embed"),
        *linear("patch_embed.proj", "patch_embed", transform=CONV3D),
    ]
    return under("vision_encoder.", "", top + under("blocks.{i}.", "blocks/{i}/", block, range(cfg.blocks_run)))


def internvideo2_extras(cfg: InternVideo2Config) -> dict[str, Shape]:
    """Blocks after the selected layer, and the image tables and distillation heads where the file has them."""
    extras: dict[str, Shape] = {}
    for i in range(cfg.blocks_run, cfg.depth):
        extras |= {f"vision_encoder.blocks.{i}.{name}": shape for name, shape in _internvideo2_block(cfg).items()}
    if cfg.unused is None:
        return extras
    width, heads = cfg.width, cfg.unused
    for name, frames in (("clip_pos_embed", cfg.frames), ("img_pos_embed", 1), ("clip_img_pos_embed", 1)):
        extras[f"vision_encoder.{name}"] = (1, frames * cfg.grid**2 + 1, width)
    pool = "vision_encoder.clip_projector."
    for name in "qkv":
        extras |= {f"{pool}norm1_{name}.{leaf}": (width,) for leaf in ("weight", "bias")}
        extras |= {f"{pool}cross_attn.{name}_bias": (width,), f"{pool}cross_attn.{name}.weight": (width, width)}
    extras |= _dense(f"{pool}cross_attn.proj", heads.clip_embed, width)
    decoders = {f"clip_decoder.{i}": (heads.clip_teacher, width) for i in range(heads.clip_layers)}
    for name, (out, inputs) in (decoders | {"final_clip_decoder": (heads.final_teacher, heads.clip_embed)}).items():
        extras |= _dense(f"vision_encoder.{name}.head", out, inputs)
        extras |= {f"vision_encoder.{name}.norm.{leaf}": (out,) for leaf in ("weight", "bias")}
    return extras | _dense("vision_proj", heads.proj, heads.clip_embed)


def _internvideo2_block(cfg: InternVideo2Config) -> dict[str, Shape]:
    width = cfg.width
    vectors = ("norm1.weight", "norm2.weight", "attn.q_norm.weight", "attn.k_norm.weight", "ls1.gamma", "ls2.gamma")
    return {
        **dict.fromkeys(vectors, (width,)),
        "attn.qkv.weight": (3 * width, width),
        **_dense("attn.proj", width, width),
        **_dense("mlp.fc1", cfg.mlp_width, width),
        **_dense("mlp.fc2", width, cfg.mlp_width),
    }


def _dense(name: str, out: int, inputs: int) -> dict[str, Shape]:
    return {f"{name}.weight": (out, inputs), f"{name}.bias": (out,)}


def llm(cfg: LlmConfig) -> list[Row]:
    """A transformers Phi-3 (fused) or Llama (separate) causal model -> `llm.CausalLM` (facts 2.1, 2.5)."""
    attention = ("qkv_proj",) if cfg.fused else ("q_proj", "k_proj", "v_proj")
    gates = ("gate_up_proj",) if cfg.fused else ("gate_proj", "up_proj")
    block = flat(
        [
            norm("input_layernorm", bias=False),
            *(linear(f"self_attn.{name}", bias=False) for name in (*attention, "o_proj")),
            norm("post_attention_layernorm", bias=False),
            *(linear(f"mlp.{name}", bias=False) for name in (*gates, "down_proj")),
        ]
    )
    rows = [
        Row("model.embed_tokens.weight", "embed_tokens/embedding", Transform(rows=cfg.vocab)),
        *under("model.layers.{i}.", "blocks/{i}/", block, range(cfg.depth)),
        *norm("model.norm", "norm", bias=False),
    ]
    if not cfg.tie_embeddings:
        rows += linear("lm_head", bias=False, transform=Transform(axes=(1, 0), rows=cfg.vocab))
    return rows


def adapters(cfg: VideoGlammConfig) -> list[Row]:
    """Both projectors and the L-V adapter, in the complete checkpoint's names and paths."""
    names = {"text_hidden_fcs.0": "text_hidden_fcs"}
    if cfg.encoders != "image":
        names["mm_projector"] = "mm_projector"
    if cfg.encoders != "video":
        names["image_mm_projector"] = "image_mm_projector"
    return flat(
        linear(f"model.{key}.{n}", f"{path}/{layer}")
        for key, path in names.items()
        for n, layer in ((0, "fc1"), (2, "fc2"))
    )


def spoken(cfg: VideoGlammConfig) -> list[Row]:
    """The language model and the adapters."""
    return [*under("", "llm/", llm(cfg.llm)), *adapters(cfg)]


def trained(cfg: VideoGlammConfig) -> list[Row]:
    """What the complete checkpoint is trusted for: everything but the two towers."""
    return [*spoken(cfg), *under(SAM2_PREFIX, "sam2/", sam2(cfg.sam2, layer_scale="weight"))]


def towers(cfg: VideoGlammConfig) -> dict[str, list[Row]]:
    """Rows of the towers in use, under their own files' names: `{"clip": rows, "internvideo2": rows}`."""
    rows = {}
    if cfg.encoders != "video":
        rows["clip"] = under("", "clip/", clip(cfg.clip))
    if cfg.encoders != "image":
        rows["internvideo2"] = under("", "internvideo2/", internvideo2(cfg.internvideo2))
    return rows


def videoglamm(cfg: VideoGlammConfig) -> list[Row]:
    """Every parameter of the model under the names of the complete checkpoint."""
    prefixes = {"clip": CLIP_PREFIX, "internvideo2": INTERNVIDEO2_PREFIX}
    return trained(cfg) + flat(under(prefixes[name], "", rows) for name, rows in towers(cfg).items())


def videoglamm_extras(cfg: VideoGlammConfig) -> dict[str, Shape]:
    """Every carried tensor under the names of the complete checkpoint."""
    extras: dict[str, Shape] = {}
    if cfg.encoders != "video":
        extras |= {CLIP_PREFIX + name: shape for name, shape in clip_extras(cfg.clip).items()}
    if cfg.encoders != "image":
        extras |= {INTERNVIDEO2_PREFIX + name: s for name, s in internvideo2_extras(cfg.internvideo2).items()}
    return extras
