"""The programs that answer, compiled for a TPU that is not here: does the model fit, and what does each need?

They are those `infer/predictor.py` runs, traced on shapes alone: no weights exist.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vglamm_jax import chips
from vglamm_jax.aot.compiling import compiled
from vglamm_jax.aot.topology import topology_devices
from vglamm_jax.chips import GIB
from vglamm_jax.config import VideoGlammConfig, load_model_config
from vglamm_jax.infer import generate, predictor, track
from vglamm_jax.models import layers
from vglamm_jax.models.videoglamm import VideoGlamm
from vglamm_jax.sharding import AXES, shardings
from vglamm_jax.train.memory import DoesNotFit


@dataclasses.dataclass
class Program:
    """What one compiled program needs per chip, in bytes."""

    name: str
    weights: int  # of the model, read by it
    held: int  # what lives on between programs because of it: KV cache, memory bank, features
    temporaries: int
    outputs: int
    code: int
    seconds: float  # of compilation


def topology_mesh(name: str) -> Mesh:
    """A ("data", "fsdp", "tensor") mesh over the chips of e.g. `v5e:4x4`, all of them along "fsdp".

    Raises: as `topology_devices`.
    """
    devices = np.array(topology_devices(name)).reshape(1, -1, 1)
    return Mesh(devices, AXES, axis_types=(AxisType.Auto,) * 3)


class Shapes:
    """Makes abstract arrays on a mesh: whole on every chip unless the sharding rules split them."""

    def __init__(self, mesh: Mesh, dtype=jnp.bfloat16):
        self.mesh = mesh
        self.dtype = dtype
        self.whole = NamedSharding(mesh, PartitionSpec())

    def array(self, shape: tuple[int, ...], dtype=None) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype or self.dtype, sharding=self.whole)

    def tree(self, tree):
        """The same arrays, floating ones kept in their dtype, placed whole."""
        return jax.tree.map(lambda x: self.array(x.shape, x.dtype), tree)

    def model(self, cfg: VideoGlammConfig) -> VideoGlamm:
        """The whole model as shapes in `dtype`, split by `sharding.RULES`."""
        abstract = layers.abstract(VideoGlamm, cfg)
        places = shardings(abstract, self.mesh)
        return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, self.dtype, sharding=s), abstract, places)


def compile_program(name: str, weights, held, lower: Callable[[], jax.stages.Lowered]) -> Program:
    """Compiles one program and reads what it needs from the compiler.

    Raises:
      DoesNotFit: it alone needs more memory than a chip has.
    """
    try:
        found = compiled(lower())
    except DoesNotFit as error:
        raise DoesNotFit(f"{name}: DOES NOT FIT: {error}") from error
    return Program(
        name=name,
        weights=bytes_per_chip(weights),
        held=bytes_per_chip(held),
        temporaries=found.temporaries,
        outputs=found.outputs,
        code=found.code,
        seconds=found.seconds,
    )


def bytes_per_chip(tree) -> int:
    """Bytes of a tree of abstract arrays on one chip."""
    return sum(
        int(np.prod(x.sharding.shard_shape(x.shape))) * x.dtype.itemsize if x.shape else x.dtype.itemsize
        for x in jax.tree.leaves(tree)
    )


def inference_programs(shapes: Shapes, cfg: VideoGlammConfig, args: argparse.Namespace) -> Iterator[tuple]:
    """(name, weights, what it leaves resident, lower) of every program that answers, in the data's order."""
    model = shapes.model(cfg)
    yield from _seeing(shapes, cfg, model)
    yield from _speaking(shapes, cfg, model.llm, args)
    yield from _tracking(shapes, cfg, model.sam2, args)


def _seeing(shapes, cfg, model):
    side, small = cfg.clip.image_size, cfg.internvideo2.image_size
    context = shapes.array((1, cfg.frames, side, side, 3)) if model.clip is not None else None
    clips = shapes.array((1, cfg.frames, small, small, 3)) if model.internvideo2 is not None else None
    towers = (model.clip, model.internvideo2, model.mm_projector, model.image_mm_projector)
    rows = shapes.array((1, cfg.video_tokens, cfg.llm.width))
    yield "dual encoder and adapters", towers, rows, lambda: predictor.see_video.lower(model, context, clips)


def _speaking(shapes, cfg, llm, args):
    rules = shapes.tree(jax.eval_shape(lambda: generate.make_rules(0, cfg.stop_ids, 0, generate.Sampling())))
    prompt = (
        shapes.array((1, args.prompt, cfg.llm.width)),
        shapes.array((1,), jnp.int32),
        shapes.array((1, args.prompt), bool),
        rules,
    )
    options = {"new_tokens": args.cache - args.prompt, "max_objects": 32}
    prefill = partial(generate.prefill, **options)
    state = shapes.tree(jax.eval_shape(prefill, llm, *prompt))
    limit = shapes.array((), jnp.int32)
    yield f"prefill of {args.prompt} tokens", llm, (), lambda: generate.prefill.lower(llm, *prompt, **options)
    yield f"decode loop, {args.cache} slots", llm, state, lambda: generate.decode.lower(llm, state, limit, rules)


def _tracking(shapes, cfg, sam2, args):
    side = cfg.sam2.image_size
    images, frame = shapes.array((args.frames, side, side, 3)), shapes.array((), jnp.int32)
    text, span = shapes.array((args.objects, cfg.sam2.width)), cfg.sam2.num_pointers
    features = shapes.tree(jax.eval_shape(track.encode, sam2, images))
    first = jax.tree.map(lambda x: shapes.array((1, *x.shape[1:]), x.dtype), features)
    _, bank = shapes.tree(jax.eval_shape(partial(track.begin, span=span), sam2, first, text))
    objects = f"{args.objects} object{'s' * (args.objects > 1)}"
    yield f"image encoder, {args.frames} frame", sam2, (images, features), lambda: track.encode.lower(sam2, images)
    yield f"first frame, {objects}", sam2, (), lambda: track.begin.lower(sam2, first, text, span)
    yield f"tracker step, {objects}", sam2, bank, lambda: track.follow.lower(sam2, bank, features, frame)


def main(args: argparse.Namespace) -> int:
    """Prints the table; exit code 1 when the programs do not fit on one chip, one of them or all together."""
    if args.cache <= args.prompt:
        raise ValueError(f"--cache {args.cache} must exceed --prompt {args.prompt}: it also holds the answer")
    cfg, mesh = load_model_config(args.config), topology_mesh(args.topology)
    shapes = Shapes(mesh)
    print(f"{args.config} on {args.topology}, bfloat16; GiB per chip\n")
    print(f"| {'program':<26} | weights | resident | temporaries | outputs | compiled in |")
    print(f"|{'-' * 28}|--------:|---------:|------------:|--------:|------------:|")
    programs = []
    try:
        with jax.set_mesh(mesh):
            for program in inference_programs(shapes, cfg, args):
                programs.append(compile_program(*program))
                print(row(programs[-1]), flush=True)
    except DoesNotFit as error:
        print(f"\n{error}")
        return 1
    return conclude(args, bytes_per_chip(shapes.model(cfg)), programs)


def row(program: Program) -> str:
    sizes = (program.weights, program.held, program.temporaries, program.outputs)
    widths = (7, 8, 11, 7)
    cells = " | ".join(f"{size / GIB:{width}.2f}" for size, width in zip(sizes, widths))
    return f"| {program.name:<26} | {cells} | {program.seconds:9.0f} s |"


def conclude(args: argparse.Namespace, weights: int, programs: list[Program]) -> int:
    """What is on a chip at worst: all weights, all that stays resident, and the neediest program's own."""
    held = sum(program.held for program in programs)
    code = sum(program.code for program in programs)
    # The outputs of prefill and the first frame are the state that the next program is counted with.
    most = max(program.temporaries for program in programs)
    peak = weights + held + code + most
    usable = chips.of_topology(args.topology).usable / GIB
    parts = {"weights": weights, "resident": held, "programs of all": code, "temporaries of the neediest": most}
    print("\ntogether: " + " + ".join(f"{size / GIB:.2f} {name}" for name, size in parts.items()), end="")
    print(f" = {peak / GIB:.2f} GiB per chip", end="")
    fits = peak / GIB <= usable
    print(f", {usable:.2f} usable: {'fits' if fits else 'DOES NOT FIT'}")
    if args.json is not None:
        table = {"topology": args.topology, **parts, "peak": peak, "programs": list(map(dataclasses.asdict, programs))}
        args.json.write_text(json.dumps(table, indent=1) + "\n")
    return 0 if fits else 1
