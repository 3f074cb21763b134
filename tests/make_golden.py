"""Makes tests/golden/: what transformers' PyTorch models compute for the cases of `golden_cases`.

    python tests/make_golden.py

InternVideo2 and text-prompted tracking exist in no library: their values are our own, stored once they
agreed with golden vectors of the original.
"""

import numpy as np
import torch
import transformers
from golden_cases import CASES, CLIP, FOLDER, LLAMA, OURS, PHI3, SAM2, ids, image, values

from vglamm_jax.config import LlmConfig


def load(model: torch.nn.Module, prefix: str = "") -> torch.nn.Module:
    """The model with its values by name; `prefix` is what the names have in a file and not in the module."""
    state = model.state_dict().items()
    model.load_state_dict({n: torch.from_numpy(values(prefix + n, tuple(old.shape))) for n, old in state})
    return model.eval()


def channels_first(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


def clip() -> dict[str, np.ndarray]:
    sizes = transformers.CLIPVisionConfig(
        image_size=CLIP.image_size,
        patch_size=CLIP.patch_size,
        hidden_size=CLIP.width,
        num_hidden_layers=CLIP.depth,
        num_attention_heads=CLIP.heads,
        intermediate_size=CLIP.mlp_width,
    )
    model = transformers.CLIPVisionModel(sizes)
    named_as_in_files = any(name.startswith("vision_model.") for name in model.state_dict())
    model = load(model, "" if named_as_in_files else "vision_model.")
    out = model(channels_first(image("clip", 2, 28, 28, 3)), output_hidden_states=True)
    return {"features": out.hidden_states[CLIP.select_layer][:, 1:].numpy()}


def llm(cfg: LlmConfig) -> dict[str, np.ndarray]:
    rope = {"rope_type": "default", "rope_theta": cfg.rope_theta}
    if cfg.rope_scaling is not None:
        scaling = cfg.rope_scaling
        rope |= {"rope_type": "llama3", "factor": scaling.factor, "low_freq_factor": scaling.low_freq_factor}
        rope["high_freq_factor"] = scaling.high_freq_factor
        rope["original_max_position_embeddings"] = scaling.original_max_positions
    sizes = {
        "vocab_size": cfg.vocab,
        "hidden_size": cfg.width,
        "num_hidden_layers": cfg.depth,
        "num_attention_heads": cfg.heads,
        "num_key_value_heads": cfg.kv_heads,
        "intermediate_size": cfg.mlp_width,
        "max_position_embeddings": cfg.max_positions,
        "rms_norm_eps": cfg.norm_eps,
        "rope_parameters": rope,
        "attn_implementation": "eager",
    }
    if cfg.fused:
        special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "sliding_window": cfg.window}
        model = transformers.Phi3ForCausalLM(transformers.Phi3Config(**sizes, **special))
    else:
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
    out = load(model)(torch.from_numpy(ids(cfg)), output_hidden_states=True)
    return {"hidden": out.hidden_states[-1].numpy(), "logits": out.logits.numpy()}


def sam2_image() -> dict[str, np.ndarray]:
    hiera, stages = SAM2.hiera, range(len(SAM2.hiera.stages))
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=hiera.width,
        num_attention_heads=hiera.heads,
        image_size=[SAM2.image_size] * 2,
        blocks_per_stage=list(hiera.stages),
        embed_dim_per_stage=[hiera.stage_width(s) for s in stages],
        num_attention_heads_per_stage=[hiera.stage_heads(s) for s in stages],
        window_size_per_stage=list(hiera.windows),
        global_attention_blocks=list(hiera.global_blocks),
    )
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[hiera.stage_width(s) for s in reversed(stages)],
        backbone_feature_sizes=[[SAM2.grid * n] * 2 for n in (4, 2, 1)],
    )
    model = load(transformers.Sam2VisionModel(vision), "vision_encoder.")
    levels = model(channels_first(image("sam2", 1, 128, 128, 3))).fpn_hidden_states
    fine, middle, embed = (level.permute(0, 2, 3, 1).numpy() for level in levels)
    return {"stride4": fine[:, ::8, ::8], "stride8": middle[:, ::4, ::4], "stride16": embed[:, ::2, ::2]}


THEIRS = {"clip": clip, "phi3": lambda: llm(PHI3), "llama": lambda: llm(LLAMA), "sam2_image": sam2_image}


def main() -> None:
    assert set(CASES) - set(THEIRS) == set(OURS)
    FOLDER.mkdir(exist_ok=True)
    with torch.inference_mode():
        for name, ours in CASES.items():
            found = THEIRS[name]() if name in THEIRS else ours()
            np.savez_compressed(FOLDER / f"{name}.npz", **found)
            check = ours()
            worst = {key: float(np.abs(check[key] - value).max() / np.abs(value).max()) for key, value in found.items()}
            print(name, {key: value.shape for key, value in found.items()}, worst)


if __name__ == "__main__":
    main()
