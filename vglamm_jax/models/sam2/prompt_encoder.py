"""Points, boxes, masks and text embeddings to the tokens and maps the mask decoder reads (facts 1.9, 1.10)."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from vglamm_jax.config import Sam2Config
from vglamm_jax.models.sam2.convolution import mask_convs, shrink

# Labels of points; the others are 0 = outside and 1 = inside the object.
IGNORED = -1  # the learned "not a point"
BOX_START, BOX_END = 2, 3


class Buffer(nnx.Variable):
    """A constant of the model that is saved with it and never trained."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Prompts:
    """What says which object is meant. Leading axes [...] are the same everywhere: [objects] or [frames, objects].

    Coordinates are pixels (x, y) of the model's input image, before the half-pixel shift to pixel centres.
    """

    text: jax.Array | None = None  # [..., texts, width], e.g. projected [SEG] states
    points: jax.Array | None = None  # [..., points, 2]
    labels: jax.Array | None = None  # int [..., points]
    boxes: jax.Array | None = None  # [..., 4] as x0, y0, x1, y1
    masks: jax.Array | None = None  # image decoding: logits [..., 4g, 4g]; tracking: 0/1 [..., side, side]


class PositionEmbedding(nnx.Module):
    """Random Fourier features of coordinates in [0, 1]."""

    def __init__(self, width: int, rngs: nnx.Rngs):
        self.positional_encoding_gaussian_matrix = Buffer(jax.random.normal(rngs.params(), (2, width // 2)))

    def __call__(self, coordinates: jax.Array) -> jax.Array:
        """(x, y) [..., 2] -> [..., width], float32."""
        matrix = jax.lax.stop_gradient(self.positional_encoding_gaussian_matrix[...]).astype(jnp.float32)
        angles = 2 * jnp.pi * jnp.matmul(2 * coordinates - 1, matrix, precision="highest")
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class PromptEncoder(nnx.Module):
    def __init__(self, cfg: Sam2Config, rngs: nnx.Rngs):
        self.image_size, self.grid = cfg.image_size, cfg.grid
        self.pe_layer = PositionEmbedding(cfg.width, rngs)
        self.point_embeddings = nnx.List([nnx.Embed(1, cfg.width, rngs=rngs) for _ in range(4)])
        self.not_a_point_embed = nnx.Embed(1, cfg.width, rngs=rngs)
        self.no_mask_embed = nnx.Embed(1, cfg.width, rngs=rngs)
        self.mask_downscaling = mask_convs((cfg.mask_prompt_width // 4, cfg.mask_prompt_width), cfg.width, 2, rngs)

    def __call__(self, prompts: Prompts) -> tuple[jax.Array, jax.Array]:
        """Sparse tokens [..., tokens, width] and the dense map [..., g, g, width] (leading axes 1 without masks).

        Points and boxes end with one padding token; text comes last. Raises ValueError where nothing is given.
        """
        parts = []
        if prompts.points is not None or prompts.boxes is not None:
            parts.append(self.points(*as_points(prompts)))
        if prompts.text is not None:
            parts.append(prompts.text)
        if not parts:
            raise ValueError("an object needs a prompt: give text, points or boxes")
        sparse = jnp.concatenate(parts, axis=-2)
        return sparse, self.dense(prompts.masks, sparse.ndim)

    def points(self, points: jax.Array, labels: jax.Array) -> jax.Array:
        """Pixels [..., n, 2] and labels [..., n] -> [..., n + 1, width], the last a padding token."""
        points = jnp.concatenate([points, jnp.zeros_like(points[..., :1, :])], axis=-2)
        labels = jnp.concatenate([labels, jnp.full_like(labels[..., :1], IGNORED)], axis=-1)[..., None]
        kinds = jnp.concatenate([e.embedding[...] for e in self.point_embeddings])
        known = self.pe_layer((points + 0.5) / self.image_size).astype(kinds.dtype)
        known = known + kinds[jnp.maximum(labels[..., 0], 0)]
        return jnp.where(labels == IGNORED, self.not_a_point_embed.embedding[0], known)

    def dense(self, masks: jax.Array | None, ndim: int) -> jax.Array:
        """Mask logits [..., 4g, 4g], or none, -> [..., g, g, width]."""
        if masks is None:
            return self.no_mask_embed.embedding[0].reshape((1,) * ndim + (-1,))
        flat = shrink(self.mask_downscaling, masks.reshape(-1, *masks.shape[-2:], 1))
        return flat.reshape(*masks.shape[:-2], *flat.shape[1:])

    def position(self) -> jax.Array:
        """Encoding of every cell of the feature map: [g, g, width], in the dtype of the parameters (facts 1.15)."""
        steps = (jnp.arange(self.grid) + 0.5) / self.grid
        y, x = jnp.meshgrid(steps, steps, indexing="ij")
        return self.pe_layer(jnp.stack([x, y], axis=-1)).astype(self.no_mask_embed.embedding.dtype)


def as_points(prompts: Prompts) -> tuple[jax.Array, jax.Array]:
    """Points with labels; the corners of a box are two more points."""
    if prompts.boxes is None:
        return prompts.points, prompts.labels
    boxes = prompts.boxes
    corners = boxes.reshape(*boxes.shape[:-1], 2, 2)
    labels = jnp.broadcast_to(jnp.array([BOX_START, BOX_END]), corners.shape[:-1])
    if prompts.points is None:
        return corners, labels
    return (
        jnp.concatenate([corners, prompts.points], axis=-2),
        jnp.concatenate([labels, prompts.labels], axis=-1),
    )
