"""Trains the tiny config with and without a feature cache and prints what came of it as JSON; see test_features.py.

python feature_runs.py FOLDER
"""

import dataclasses
import json
import sys
import zlib
from pathlib import Path

import jax
import numpy as np
import tiny_training

from vglamm_jax.cli import use_compilation_cache
from vglamm_jax.data.pack import Batch
from vglamm_jax.data.tokenizer import load_tokenizer
from vglamm_jax.train import feed, mesh, start
from vglamm_jax.train import state as states
from vglamm_jax.train.config import TrainConfig
from vglamm_jax.train.features import Features, without_pixels
from vglamm_jax.train.optimizer import optimizer
from vglamm_jax.train.step import make_step

TRAINED = ("lora", "text_hidden_fcs", "mask_decoder")


def batches(stream: feed.Feed) -> list[Batch]:
    """Three, the last of which has the rows of the first two, in another order."""
    one, other = next(stream.batches), next(stream.batches)
    mixed = jax.tree.map(lambda a, b: np.stack([b[1], a[0]]), one, other)
    return [one, other, mixed]


class Trainer:
    """Trains from the same start as often as asked, by one program."""

    def __init__(self, cfg: TrainConfig):
        self.cfg, self.mesh, self.tx = cfg, mesh.make_mesh(cfg.mesh), optimizer(cfg.optimizer, cfg.steps)
        tokenizer = load_tokenizer(start.tokenizer_folder(cfg))
        sources = feed.parts(cfg.mixture, (), cfg.built)
        self.stream = feed.Feed(cfg, self.mesh, sources, tokenizer, cfg.data, cfg.batch_size)
        self.batches = batches(self.stream)
        self.stream.close()
        self.step = make_step(cfg, self.tx, self.begin())

    def begin(self) -> states.State:
        return states.create(start.starting_model(self.cfg, self.mesh), self.cfg, self.tx, self.mesh)

    def run(self) -> dict:
        """Losses of three steps, a checksum of what they led to, dtypes, and what the cache says of itself."""
        state, losses, rates = self.begin(), [], []
        dtypes = {name: sorted({x.dtype.name for x in jax.tree.leaves(part)}) for name, part in vars(state).items()}
        with jax.set_mesh(self.mesh):
            features = Features(self.cfg, state, self.mesh) if self.cfg.features else None
            for local in self.batches:
                encoded = features(state.frozen, local) if features else None
                batch = self.stream.on_mesh(without_pixels(local) if features else local)
                state, metrics = self.step(state, batch, encoded)
                losses.append(float(metrics["loss"]))
                rates += [features.take()] if features else []
        crc = 0
        for leaf in jax.tree.leaves(state.train):
            crc = zlib.crc32(np.asarray(leaf).tobytes(), crc)
        seen = {"rates": rates, "summary": features.summary() if features else ""}
        return {"losses": losses, "crc": crc, "dtypes": dtypes, "entries": self.step._cache_size(), **seen}


def spoil(folder: Path) -> None:
    """Cuts one entry off, and flips a bit of another."""
    first, second = sorted(folder.glob("clip-*/*/*.safetensors"))[:2]
    first.write_bytes(first.read_bytes()[:-3])
    content = bytearray(second.read_bytes())
    content[-1] ^= 1
    second.write_bytes(content)


if __name__ == "__main__":
    use_compilation_cache()
    folder = Path(sys.argv[1])
    plain = dataclasses.replace(
        tiny_training.config(folder / "run"), batch_size=2, accumulate=2, steps=3, trainable=TRAINED
    )
    half = dataclasses.replace(plain, compute="bfloat16")
    cached = dataclasses.replace(half, features=str(folder / "cache"))
    said = {"float32": Trainer(plain).run(), "bfloat16": Trainer(half).run()}
    trainer = Trainer(cached)
    said |= {"first": trainer.run(), "second": trainer.run()}
    spoil(folder / "cache")
    said |= {"spoilt": trainer.run(), "again": trainer.run()}
    print(json.dumps(said))
