"""`vglamm parity`: a golden folder of the original through our code, compared stage by stage.

The stages stand in the order the data flows; the first that disagrees is the broken one.
"""

import argparse
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vglamm_jax.convert import engine, source
from vglamm_jax.infer.parity_case import Case
from vglamm_jax.models.videoglamm import VideoGlamm

FEATURES = 1e-4  # of the largest value: pixels, features, hidden states
PROPAGATED = 2e-3  # mask logits after propagation
MEMORY = 2**-8  # one step of bfloat16, in which memory maps are stored
LOST_IOU = 1e-3  # 1 - IoU, of each object in each frame
ROUNDING_MARGIN = 4  # times what random rounding changes
ROUNDINGS = 3  # drawn at most, for a number that one of them happens to leave where it was


@dataclasses.dataclass(frozen=True)
class StageResult:
    """One line of the report. `passed` is None where the golden folder has nothing to compare with."""

    name: str
    passed: bool | None
    max_abs: float = float("nan")  # of ids and masks: how many differ
    max_rel: float = float("nan")  # over the largest value; of masks 1 - the lowest IoU
    tolerance: float = float("nan")  # of max_rel
    note: str = ""
    rounded: bool = False  # passed only because the weights are stored rounded


Ours = Callable[[Case], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Stage:
    """Golden array `key` against `ours`, which has its layout."""

    name: str
    key: str
    ours: Ours
    tolerance: float = FEATURES
    kind: str = "values"  # or "ids", "masks"
    floor: float = 0.0  # differences are relative to this at least
    part: Callable[[Case], slice] = lambda case: slice(None)  # which positions (axis 1) of both

    @property
    def sam2(self) -> bool:
        parts = ("framewise", "object", "memory", "tracked", "loss:", "grad")
        return "SAM2 features" in self.name or self.name.startswith(parts)


More = Callable[[Case], Iterable[Stage]]


def _channels_first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.asarray(x), -1, -3)


def _rows(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1])


STAGES = (
    Stage("CLIP pixels", "clip_336_f0f5", lambda c: _channels_first(c.context[[0, 5]])),
    Stage("InternVideo2 pixels", "video_224_f0f5", lambda c: _channels_first(c.video[[0, 5]])),
    Stage("SAM2 pixels, frame 0", "sam_1024_f0_s4", lambda c: _channels_first(c.sam2_pixels[0])[:, ::4, ::4]),
    Stage("SAM2 pixels, last frame", "sam_1024_rows", lambda c: _channels_first(c.sam2_pixels[-1])[:, 500:503]),
    Stage("prompt ids", "input_ids", lambda c: c.prompt_ids[None], 0, "ids"),
    Stage("CLIP", "clip", lambda c: c.clip[:, ::6]),
    Stage("InternVideo2", "internvideo2", lambda c: c.internvideo2[:, ::8]),
    Stage("image projector", "image_projected", lambda c: _rows(c.image_projected)[::16]),
    Stage("video projector", "video_projected", lambda c: _rows(c.video_projected)[::16]),
    Stage("embeddings with visual rows", "inputs_embeds", lambda c: c.inputs_embeds),
    Stage("hidden states, prompt", "last_hidden", lambda c: c.generation.hidden, part=lambda c: slice(c.prompt_length)),
    Stage("token scores", "scores", lambda c: c.generation.scores[0, :, : c.cfg.llm.vocab : 16]),
    Stage("answer ids", "output_ids", lambda c: np.append(c.golden["input_ids"], c.generation.ids(0))[None], 0, "ids"),
    Stage("hidden states, answer", "last_hidden", lambda c: c.generation.hidden),
    Stage("[SEG] prompts", "seg_embeddings", lambda c: c.pointed),
    Stage("SAM2 features, stride 16", "sam2_image_embed_f0", lambda c: _channels_first(_plus_no_memory(c))),
    Stage(
        "SAM2 features, stride 4",
        "sam2_hr0_f0",
        lambda c: _channels_first(c.features[0].high_res[0])[..., ::8, ::8],
    ),
    Stage(
        "SAM2 features, stride 8",
        "sam2_hr1_f0",
        lambda c: _channels_first(c.features[0].high_res[1])[..., ::4, ::4],
    ),
    Stage("framewise logits", "framewise_low_res_logits_f0", lambda c: c.framewise[0].logits[0][:, None]),
    Stage("framewise predicted IoU", "framewise_iou_f0", lambda c: c.framewise[0].iou[0][:, None]),
    Stage("framewise object score", "framewise_obj_score_f0", lambda c: c.framewise[0].object_score[0][:, None]),
    Stage(
        "framewise masks", "masks_framewise", lambda c: c.masks([f.logits[0] for f in c.framewise]), LOST_IOU, "masks"
    ),
    Stage("object pointers, frame 1", "obj_ptr_f1", lambda c: c.tracked["pointers"], PROPAGATED),
    Stage("memory, frame 1", "maskmem_features_f1", lambda c: _memory_map(c), MEMORY),
    Stage(
        "tracked logits",
        "propagated_low_res_logits",
        lambda c: c.tracked["logits"][:, :, None, ::2, ::2],
        PROPAGATED,
    ),
    Stage("tracked masks", "masks_video_branch", lambda c: c.masks(c.tracked["logits"]), LOST_IOU, "masks"),
)


def _plus_no_memory(case: Case) -> jax.Array:
    """What the decoder reads where there is no memory."""
    return case.features[0].embed + case.model.sam2.no_mem_embed[0, 0]


def _memory_map(case: Case) -> np.ndarray:
    """[K, cells, narrow] -> [K, narrow, g, g]."""
    maps, grid = case.tracked["memory"], case.cfg.sam2.grid
    return _channels_first(maps.reshape(len(maps), grid, grid, -1))


def compare(stage: Stage, case: Case, golden: Mapping[str, np.ndarray] | None = None) -> StageResult:
    """Runs one stage; `golden` replaces the folder's arrays as what to compare with."""
    golden = case.golden if golden is None else golden
    if stage.key not in golden:
        return StageResult(stage.name, None, note=f"{stage.key} is not in this golden folder")
    theirs, ours = golden[stage.key], np.asarray(stage.ours(case))
    if stage.kind == "masks":
        return _compare_masks(stage, ours, theirs, golden["masks_shape"])
    if ours.ndim > 1:
        ours, theirs = ours[:, stage.part(case)], theirs[:, stage.part(case)]
    if ours.shape != theirs.shape:
        return StageResult(stage.name, False, note=f"ours has shape {list(ours.shape)}, theirs {list(theirs.shape)}")
    if stage.kind == "ids":
        differ = int((ours != theirs).sum())
        return StageResult(stage.name, differ == 0, differ, differ / theirs.size, 0.0)
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    max_abs = float(np.abs(ours - theirs).max())
    largest = float(np.abs(theirs[theirs > case.cfg.sam2.no_object_logit]).max())
    max_rel = max_abs / max(largest, stage.floor)
    return StageResult(stage.name, max_rel < stage.tolerance, max_abs, max_rel, stage.tolerance)


def _compare_masks(stage: Stage, ours: np.ndarray, packed: np.ndarray, shape: np.ndarray) -> StageResult:
    theirs = np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape).astype(bool)
    if ours.shape != theirs.shape:
        return StageResult(stage.name, False, note=f"ours has shape {list(ours.shape)}, theirs {list(theirs.shape)}")
    union = (ours | theirs).sum((-2, -1))
    iou = np.where(union > 0, (ours & theirs).sum((-2, -1)) / np.maximum(union, 1), 1.0)
    lowest, differ = float(iou.min()), int((ours != theirs).sum())
    note = f"lowest IoU {lowest:.5f} of {iou.size}"
    return StageResult(stage.name, 1 - lowest <= stage.tolerance, differ, 1 - lowest, stage.tolerance, note)


def perturbed(model: VideoGlamm, parameter: str, amount: float = 0.5, seed: int = 0) -> VideoGlamm:
    """The model with noise on one parameter, `amount` of its own size.

    Raises:
      ValueError: there is no parameter of that path.
    """
    leaves = engine.leaves(model)
    if parameter not in leaves:
        nearest = engine.nearest([parameter], list(leaves)).get(parameter, parameter)
        raise ValueError(f"no such parameter: {nearest}")
    value = np.asarray(leaves[parameter], np.float32)
    noise = np.random.default_rng(seed).normal(size=value.shape) * amount * np.sqrt(np.mean(value**2) + 1e-12)
    leaves[parameter] = jnp.asarray(value + noise, leaves[parameter].dtype)
    return jax.tree.unflatten(jax.tree.structure(model), list(leaves.values()))


def rounded(model: VideoGlamm, seed: int = 0) -> VideoGlamm:
    """The model with SAM2's matrices moved at random by up to half a step of bfloat16, as rounding moves them."""
    rng = np.random.default_rng(seed)
    leaves = engine.leaves(model)
    for path, leaf in leaves.items():
        if path.startswith("sam2/") and path.endswith("kernel") and leaf.ndim < 4:
            value = np.asarray(leaf, np.float32)
            step = 2.0 ** (np.floor(np.log2(np.abs(value) + 1e-30)) - 7)
            leaves[path] = jnp.asarray(value + rng.uniform(-0.5, 0.5, value.shape) * step, leaf.dtype)
    return jax.tree.unflatten(jax.tree.structure(model), list(leaves.values()))


def change(stage: Stage, case: Case, moved: Case) -> float:
    """What moving the weights changes of a stage, relative to its largest value."""
    ours = np.asarray(stage.ours(case))
    theirs = np.packbits(ours) if stage.kind == "masks" else ours
    stand_in = {stage.key: theirs, "masks_shape": case.golden.get("masks_shape")}
    return compare(stage, moved, stand_in).max_rel


class Rounding:
    """Judges again a stage of SAM2 that disagrees, where the checkpoint stores SAM2 in bfloat16.

    Values computed before weights were rounded to be stored cannot be reproduced from what is stored. How much that
    may be is measured: SAM2's matrices are moved at random by up to half a step of bfloat16. A single number, as a
    norm is, can happen to stay where it was: where one such rounding changes too little, others are tried.
    """

    def __init__(self, true: Case, stored: np.dtype):
        self.true, self.stored, self._moved = true, stored, {}

    def moved(self, seed: int) -> Case:
        if seed not in self._moved:
            weights = rounded(self.true.model, seed)
            self._moved[seed] = Case(self.true.folder, weights, self.true.cfg, self.true.tokenizer)
        return self._moved[seed]

    def judge(self, stage: Stage, case: Case, result: StageResult) -> StageResult:
        """The result as it is, or passed with a note that says why and what the strict tolerance was."""
        if result.passed is not False or not stage.sam2 or self.stored != jnp.bfloat16:
            return result
        allowed = stage.tolerance
        for seed in range(ROUNDINGS):
            allowed = max(allowed, ROUNDING_MARGIN * change(stage, self.true, self.moved(seed)))
            again = compare(dataclasses.replace(stage, tolerance=allowed), case)
            if again.passed:
                return dataclasses.replace(again, rounded=True)
        return again


def run(
    golden: str | Path, perturb: str | None = None, *, strict: bool = False, more: More = lambda case: ()
) -> list[StageResult]:
    """Loads the checkpoint of a golden folder and compares every stage, in full float32.

    `perturb` names a parameter to spoil. `strict` allows nothing for weights that were rounded to be stored. `more`
    gives further stages, such as those of training (`train.parity.stages`).
    """
    return list(results(Path(golden), perturb, strict=strict, more=more))


def results(
    golden: Path, perturb: str | None = None, *, strict: bool = False, more: More = lambda case: ()
) -> Iterator[StageResult]:
    """The results of `run` one by one, as they are computed."""
    opened = source.Opened(source.find(golden))
    stored = {tensor.dtype for tensor in opened.sam2.values()}
    model, cfg, tokenizer = source.load(golden)
    true = Case(golden, model, cfg, tokenizer)
    case = Case(golden, perturbed(model, perturb), cfg, tokenizer) if perturb else true
    rounding = Rounding(true, stored.pop() if len(stored) == 1 else None)
    with jax.default_matmul_precision("highest"):
        for stage in (*STAGES, *more(case)):
            result = compare(stage, case)
            yield result if strict else rounding.judge(stage, case, result)


def first_failure(found: list[StageResult]) -> str | None:
    return next((result.name for result in found if result.passed is False), None)


def main(args: argparse.Namespace, more: More = lambda case: ()) -> int:
    """Prints the table as it grows; 0 if every stage that could be compared agrees, else 1."""
    print(f"{'stage':<28} {'difference':>10} {'relative':>9} {'allowed':>9}")
    found = []
    for result in results(args.golden, args.perturb, strict=args.strict, more=more):
        found.append(result)
        print(line(result), flush=True)
        if args.stop_at_first and result.passed is False:
            break
    print(f"\n{verdict(found)}")
    return 0 if first_failure(found) is None and any(result.passed for result in found) else 1


def verdict(found: list[StageResult]) -> str:
    """What the table says, in a sentence or two."""
    compared = [result for result in found if result.passed is not None]
    if failed := first_failure(found):
        return f"The first stage that disagrees: {failed}"
    if not compared:
        return "Nothing to compare in this folder"
    missing = f", {len(found) - len(compared)} not in this golden folder" if len(found) > len(compared) else ""
    loose = [result for result in compared if result.rounded]
    if not loose:
        return f"All {len(compared)} stages agree with the original{missing}."
    return (
        f"{len(compared) - len(loose)} stages agree with the original{missing}.\n{len(loose)} (marked ROUNDED) differ "
        f"beyond the strict tolerance, but by at most {ROUNDING_MARGIN} times what moving SAM2's weights at random by "
        "half a bfloat16 step changes:\nas where values were computed before its weights were rounded to be stored. "
        "--strict counts them as disagreeing."
    )


def line(result: StageResult) -> str:
    """`CLIP   3.1e-06   1.2e-06   1.0e-04   ok`."""
    word = "ROUNDED" if result.rounded else {True: "ok", False: "DISAGREES", None: "-"}[result.passed]
    numbers = f"{result.max_abs:>10.2e} {result.max_rel:>9.1e} {result.tolerance:>9.1e}"
    if result.passed is None:
        numbers = f"{'':>30}"
    return f"{result.name:<28} {numbers}  {word}{'  ' + result.note if result.note else ''}"
