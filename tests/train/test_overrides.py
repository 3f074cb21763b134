"""Fields set from the command line: typed, and nothing misspelt gets through."""

import dataclasses

import pytest
import tiny_training

from vglamm_jax.train.overrides import override

CFG = dataclasses.replace(tiny_training.config("runs"), files=(), steps=5)


def test_values_take_the_type_of_their_field():
    cfg = override(
        CFG,
        [
            "--config.optimizer.learning_rate=1e-4",
            "--config.steps=7",
            "--config.remat=dots",
            "--config.export=TRUE",
            "--config.optimizer.ema=0.9",
            "--config.optimizer.clip=none",
            "--config.trainable=lora,text_hidden_fcs",
            "--config.optimizer.betas=(0.8, 0.9)",
            "--config.start.checkpoint=a=b",
            "--config.mixture.0.weight=2",
            "--config.model.llm.lora.rank=2",
        ],
    )
    assert (cfg.optimizer.learning_rate, cfg.steps, cfg.remat, cfg.export) == (1e-4, 7, "dots", True)
    assert (cfg.optimizer.ema, cfg.optimizer.clip, cfg.optimizer.betas) == (0.9, None, (0.8, 0.9))
    assert cfg.trainable == ("lora", "text_hidden_fcs") and cfg.start.checkpoint == "a=b"
    assert cfg.mixture[0].weight == 2.0 and cfg.model.llm.lora.rank == 2
    assert CFG.steps == 5 and CFG.model.llm.lora.rank == 4


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "--config.optimizer.lerning_rate=1",
            "OptimizerConfig has no field 'lerning_rate'; did you mean learning_rate",
        ),
        ("--config.steps=1.5", "'1.5' is not a whole number"),
        ("--config.steps=", "'' is not a whole number"),
        ("--config.export=1", "'1' is not true or false"),
        ("--config.decoder=trackd", "'trackd' is not framewise or tracked"),
        ("--config.optimizer.ema=much", "'much' is not a number or none"),
        ("--config.optimizer.betas=0.9", "'0.9' is not values of the form"),
        ("--config.mixture.1.weight=2", "'1' is no place among 1"),
        ("--config.steps.many=2", "'many' is a field of what is 5 here"),
        ("--config.model.llm.rope_scaling.factor=2", "what is None here; state it in the config file"),
        ("--config.optimizer=none", "settable whole: name a field of OptimizerConfig"),
        ("--config.steps", "expected --config.key=value"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(argument, message):
    with pytest.raises(ValueError, match=r".+") as error:
        override(CFG, [argument])
    assert message in str(error.value) and argument in str(error.value) and "\n" not in str(error.value)
