"""VideoGLaMM, the assembly: video -> encoders -> adapters -> language model -> [SEG] -> tracker -> masks.

Read this file first. Each method is one arrow of that sentence and is a pure function of its inputs;
`infer/predictor.py` calls them in order for a video file.
"""

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from vglamm_jax.config import VideoGlammConfig
from vglamm_jax.models.adapters import Projector, SegProjector, visual_tokens
from vglamm_jax.models.clip import ClipVision
from vglamm_jax.models.internvideo2 import InternVideo2
from vglamm_jax.models.llm import CausalLM
from vglamm_jax.models.sam2.tracker import Sam2


class VideoGlamm(nnx.Module):
    """Figure 2 of the paper. Towers that `cfg.encoders` leaves out are None."""

    def __init__(self, cfg: VideoGlammConfig, rngs: nnx.Rngs):
        self.cfg = cfg
        image, video = cfg.encoders != "video", cfg.encoders != "image"
        width = cfg.llm.width
        self.clip = ClipVision(cfg.clip, rngs) if image else None
        self.image_mm_projector = Projector(cfg.clip.width, width, rngs) if image else None
        self.internvideo2 = InternVideo2(cfg.internvideo2, rngs) if video else None
        self.mm_projector = Projector(cfg.internvideo2.width, width, rngs) if video else None
        self.llm = CausalLM(cfg.llm, rngs)
        self.text_hidden_fcs = SegProjector(width, cfg.sam2.width, rngs)
        self.sam2 = Sam2(cfg.sam2, rngs)

    def see_video(self, context: jax.Array | None, frames: jax.Array | None) -> jax.Array:
        """CLIP frames [B, F, S, S, 3] and InternVideo2 frames [B, F, s, s, 3] -> visual rows [B, V, D]."""
        image = video = None
        if self.clip is not None:
            image = self.image_mm_projector(self.clip(rearrange(context, "b f h w c -> (b f) h w c")))
        if self.internvideo2 is not None:
            clips = rearrange(frames, "b (n f) h w c -> (b n) f h w c", f=self.cfg.internvideo2.frames)
            video = self.mm_projector(self.internvideo2(clips)[:, 1:])
        batch = (context if context is not None else frames).shape[0]
        return visual_tokens(image, video, self.cfg, batch)

    def see_image(self, image: jax.Array) -> jax.Array:
        """Single images [B, S, S, 3] -> visual rows [B, grid * grid, D]: CLIP alone, not pooled."""
        if self.clip is None:
            raise ValueError("a single image needs the image encoder: use encoders='both' or 'image'")
        return self.image_mm_projector(self.clip(image))

    def read(self, ids: jax.Array, visual_index: jax.Array, visual: jax.Array | None) -> jax.Array:
        """Prompt ids [B, L] and the visual row each position takes (-1 = text) -> embeddings [B, L, D]."""
        text = self.llm.embed(ids)
        if visual is None:
            return text
        rows = jnp.take_along_axis(visual, jnp.maximum(visual_index, 0)[..., None], axis=1)
        return jnp.where((visual_index >= 0)[..., None], rows.astype(text.dtype), text)

    def point(self, seg_hidden: jax.Array) -> jax.Array:
        """States that predict [SEG] [..., D] -> prompts of the mask decoder [..., sam2.width]."""
        return self.text_hidden_fcs(seg_hidden)
