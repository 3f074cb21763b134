"""Which options the demo runs with: those given, else the toy model's, or with a checkpoint those of `vglamm ask`."""

import pytest

from vglamm_jax.cli import make_parser
from vglamm_jax.infer.demo import fill_in

OPTIONS = ("every_frame", "fps", "stride", "max_frames", "max_new_tokens", "temperature")


@pytest.mark.parametrize(
    "given, options",
    [
        ((), (True, 1.0, None, 64, 24, 1.0)),
        (("--fps", "5"), (False, 5.0, None, 64, 24, 1.0)),
        (("--fps", "5", "--every-frame"), (True, 5.0, None, 64, 24, 1.0)),
        (("--temperature", "0", "--max-new-tokens", "7"), (True, 1.0, None, 64, 7, 0.0)),
        (("--checkpoint", "weights"), (False, 1.0, None, 64, 512, 0.0)),
        (("--checkpoint", "weights", "--every-frame"), (True, 1.0, None, 64, 512, 0.0)),
        (("--checkpoint", "weights", "--stride", "3", "--max-frames", "9"), (False, 1.0, 3, 9, 512, 0.0)),
    ],
)
def test_options_of_the_demo(given, options):
    args = make_parser().parse_args(["demo", *given])
    fill_in(args)
    assert tuple(getattr(args, name) for name in OPTIONS) == options
