"""Moving Things, a procedural grounded-video benchmark. Start reading at `benchmark`; `world` says what moves."""

from vglamm_jax.data.synthetic.benchmark import Clip, example, make_clip
from vglamm_jax.data.synthetic.export import export
from vglamm_jax.data.synthetic.source import MovingThings, Record, clips_per_second
from vglamm_jax.data.synthetic.world import Settings

__all__ = ["Clip", "MovingThings", "Record", "Settings", "clips_per_second", "example", "export", "make_clip"]
