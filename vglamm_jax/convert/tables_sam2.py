"""SAM2 and SAM2.1 rows: Meta's names -> `sam2.tracker.Sam2` (facts 2.2)."""

from vglamm_jax.config import HieraConfig, Sam2Config
from vglamm_jax.convert.rows import CONV2D, CONV_TRANSPOSE, Row, flat, linear, norm, under


def sam2(cfg: Sam2Config, *, layer_scale: str = "gamma") -> list[Row]:
    """Rows of a SAM2 file; VideoGLaMM calls the memory encoder's `gamma` `weight` (facts 1.10)."""
    return [
        *hiera(cfg.hiera),
        *flat(
            linear(f"image_encoder.neck.convs.{i}.conv", f"image_encoder/neck/convs/{i}", transform=CONV2D)
            for i in range(len(cfg.hiera.stages))
        ),
        *memory_attention(cfg),
        *memory_encoder(cfg, layer_scale),
        *prompt_encoder(),
        *mask_decoder(cfg),
        *video(cfg),
    ]


def hiera(cfg: HieraConfig) -> list[Row]:
    """The image trunk. A stage is its first block (from the second stage on) and a stack of the others."""
    trunk = "image_encoder.trunk."
    rows = [
        Row(f"{trunk}pos_embed", "image_encoder/trunk/pos_embed"),
        Row(f"{trunk}pos_embed_window", "image_encoder/trunk/pos_embed_window"),
        *linear(f"{trunk}patch_embed.proj", "image_encoder/trunk/patch_embed", transform=CONV2D),
    ]
    block = flat(
        [
            norm("norm1"),
            linear("attn.qkv"),
            linear("attn.proj"),
            norm("norm2"),
            linear("mlp.layers.0"),
            linear("mlp.layers.1"),
        ]
    )
    for stage, blocks in enumerate(cfg.stages):
        start, path = cfg.first_block(stage), f"image_encoder/trunk/stages/{stage}/"
        if stage:
            rows += under(f"{trunk}blocks.{start}.", f"{path}first/", [*block, *linear("proj")])
        rest = range(start + (stage > 0), start + blocks)
        rows += under(f"{trunk}blocks.{{i}}.", f"{path}rest/{{i}}/", block, rest)
    return rows


def attention(name: str) -> list[Row]:
    return flat(linear(f"{name}.{part}_proj") for part in ("q", "k", "v", "out"))


def mlp(name: str, depth: int = 3) -> list[Row]:
    return flat(linear(f"{name}.layers.{i}") for i in range(depth))


def memory_attention(cfg: Sam2Config) -> list[Row]:
    layer = [
        *attention("self_attn"),
        *attention("cross_attn_image"),
        *flat(linear(name) for name in ("linear1", "linear2")),
        *flat(norm(name) for name in ("norm1", "norm2", "norm3")),
    ]
    depth = range(cfg.memory_attention_depth)
    return [
        *under("memory_attention.layers.{i}.", "memory_attention/layers/{i}/", layer, depth),
        *norm("memory_attention.norm"),
    ]


def memory_encoder(cfg: Sam2Config, layer_scale: str) -> list[Row]:
    layer = [
        Row(layer_scale, "gamma"),
        *linear("dwconv", transform=CONV2D),
        *norm("norm"),
        *flat(linear(name) for name in ("pwconv1", "pwconv2")),
    ]
    down = "mask_downsampler.encoder"
    rows = [
        *flat(linear(f"{down}.{i}", transform=CONV2D) for i in (0, 3, 6, 9, 12)),
        *flat(norm(f"{down}.{i}") for i in (1, 4, 7, 10)),
        *linear("pix_feat_proj", transform=CONV2D),
        *linear("out_proj", transform=CONV2D),
        *under("fuser.layers.{i}.", "fuser/layers/{i}/", layer, range(cfg.memory_fuser_depth)),
    ]
    return under("memory_encoder.", "memory_encoder/", rows)


def prompt_encoder() -> list[Row]:
    rows = [
        Row(
            "pe_layer.positional_encoding_gaussian_matrix",
            "pe_layer/positional_encoding_gaussian_matrix",
        ),
        *(Row(f"point_embeddings.{i}.weight", f"point_embeddings/{i}/embedding") for i in range(4)),
        Row("not_a_point_embed.weight", "not_a_point_embed/embedding"),
        Row("no_mask_embed.weight", "no_mask_embed/embedding"),
        *flat(linear(f"mask_downscaling.{i}", transform=CONV2D) for i in (0, 3, 6)),
        *flat(norm(f"mask_downscaling.{i}") for i in (1, 4)),
    ]
    return under("sam_prompt_encoder.", "sam_prompt_encoder/", rows)


def mask_decoder(cfg: Sam2Config) -> list[Row]:
    layer = [
        *attention("self_attn"),
        *attention("cross_attn_token_to_image"),
        *attention("cross_attn_image_to_token"),
        *mlp("mlp", 2),
        *flat(norm(f"norm{i}") for i in (1, 2, 3, 4)),
    ]
    tokens = ("iou_token", "mask_tokens", "obj_score_token")
    hypernetworks = range(cfg.num_multimask + 1)
    rows = [
        *under("transformer.layers.{i}.", "transformer/layers/{i}/", layer, range(cfg.decoder_depth)),
        *attention("transformer.final_attn_token_to_image"),
        *norm("transformer.norm_final_attn"),
        *(Row(f"{name}.weight", f"{name}/embedding") for name in tokens),
        *flat(linear(f"output_upscaling.{i}", transform=CONV_TRANSPOSE) for i in (0, 3)),
        *norm("output_upscaling.1"),
        *flat(linear(name, transform=CONV2D) for name in ("conv_s0", "conv_s1")),
        *under("output_hypernetworks_mlps.{i}.", "output_hypernetworks_mlps/{i}/", _layers(), hypernetworks),
        *mlp("iou_prediction_head"),
        *mlp("pred_obj_score_head"),
    ]
    return under("sam_mask_decoder.", "sam_mask_decoder/", rows)


def _layers() -> list[Row]:
    return flat(linear(f"layers.{i}") for i in range(3))


def video(cfg: Sam2Config) -> list[Row]:
    """What ties the parts to a video; two of them only in SAM2.1."""
    rows = [
        *(Row(name, name) for name in ("maskmem_tpos_enc", "no_mem_embed", "no_mem_pos_enc", "no_obj_ptr")),
        *linear("mask_downsample", transform=CONV2D),
        *mlp("obj_ptr_proj"),
    ]
    if cfg.no_object_memory:
        rows.append(Row("no_obj_embed_spatial", "no_obj_embed_spatial"))
    if cfg.pointer_time:
        rows += linear("obj_ptr_tpos_proj")
    return rows
