"""The conversion table of LoRA: PEFT's factors beside the matrices of the language model (facts 2.6, 2.7).

Names are canonical, those of the base model with `lora_A` and `lora_B` in them; `peft_io` takes PEFT's
wrapping off and puts it on. PEFT's factors are matrices of `torch.nn.Linear`: A [rank, in], B [out, rank].
"""

from vglamm_jax.config import LlmConfig
from vglamm_jax.convert.rows import LINEAR, Row, flat, under
from vglamm_jax.models.lora import adapted

LAYERS = "model.layers.{i}."


def lora(cfg: LlmConfig) -> list[Row]:
    """Rows of the factors that `cfg.lora` names, to go with `tables.llm(cfg)`; none without LoRA.

    Raises:
      ValueError: a target that the model has not.
    """
    pairs = flat(
        [
            [
                Row(f"{name}.lora_A.weight", f"{name.replace('.', '/')}/lora_a", LINEAR),
                Row(f"{name}.lora_B.weight", f"{name.replace('.', '/')}/lora_b", LINEAR),
            ]
            for name in adapted(cfg)
        ]
    )
    return under(LAYERS, "blocks/{i}/", pairs, range(cfg.depth))
