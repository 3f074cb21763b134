"""The `vglamm` command: parses arguments, calls one function of the package, reports errors in one line."""

import argparse
import os
import sys
from pathlib import Path

import vglamm_jax

EXAMPLES = """\
examples:
  vglamm demo                                          everything on a made-up clip, without any download
  vglamm ask clip.mp4 "What is the dog doing? Please segment it." --checkpoint weights/ --out answer/
  vglamm ask frames/ "Segment the red car." --checkpoint weights/ --every-frame --mode framewise
  vglamm convert VideoGLaMM/ clip/ iv2.pt weights/     PyTorch to Orbax, once, and back whenever you like
  vglamm train --config configs/train_moving_things.py resumes where it was stopped
  vglamm data validate my_videos/                      what is wrong with which row, before training
  vglamm parity golden/                                proves a checkpoint equal to the original, stage by stage
  vglamm bench inference --size full                   this machine, ours against PyTorch
  vglamm aot infer --topology v5e:1x1                  does the model fit on that TPU?
  vglamm aot train --config train_lora --topology v5e:16x16    and its training, and how fast would it be?

`vglamm COMMAND --help` explains each one.
"""


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0 done, 1 a check failed, 2 bad input (one line on stderr)."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return 2
    try:
        return args.run(args) or 0
    except BrokenPipeError:  # `vglamm ... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("vglamm: interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError, ModuleNotFoundError) as error:
        if args.traceback:
            raise
        print(f"vglamm: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def make_parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "vglamm", description=vglamm_jax.__doc__, epilog=EXAMPLES, formatter_class=formatter
    )
    parser.add_argument("--version", action="version", version=f"vglamm_jax {vglamm_jax.__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, help: str, arguments, run) -> None:
        sub = commands.add_parser(name, help=help, description=run.__doc__, formatter_class=formatter)
        arguments(sub)
        sub.set_defaults(run=run)

    command("ask", "answer about a video, with a mask per named object", ask_arguments, ask)
    command("demo", "the same on a made-up clip with a tiny random model", demo_arguments, demo)
    command("convert", "weights from and to PyTorch, Orbax between; --verify compares", convert_arguments, convert)
    command("train", "train, on one device or on every process of a pod", train_arguments, train)
    command("data", "look at data, check it, build it, before a model learns from it", data_arguments, data)
    command("parity", "compare a checkpoint with golden vectors of the original", parity_arguments, parity)
    command("bench", "measure this machine", bench_arguments, bench)
    command("aot", "compile for a TPU that is not here: does it fit?", aot_arguments, aot)
    return parser


# ---------------------------------------------------------------------------------------------- ask


def checkpoint_arguments(parser: argparse.ArgumentParser, required: bool) -> None:
    group = parser.add_argument_group("checkpoint")
    group.add_argument(
        "--checkpoint",
        type=Path,
        required=required,
        help="Orbax folder of `vglamm convert`, or the original's: HF files, or checkpoint/ clip/ internvideo2.pt",
    )
    group.add_argument("--clip", type=Path, help="CLIP folder, when it is not beside the checkpoint")
    group.add_argument("--internvideo2", type=Path, help="InternVideo2 file, when it is not beside the checkpoint")
    group.add_argument("--config", type=Path, help="configs/*.py to use instead of sizes read from the checkpoint")
    group.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: float32 on CPU, bfloat16 on TPU")
    group.add_argument("--check", action="store_true", help="first compare the weights with their manifest")


def sampling_arguments(parser: argparse.ArgumentParser) -> None:
    frames = parser.add_argument_group("which frames")
    frames.add_argument("--fps", type=float, default=1.0, help="frames tracked per second of video (default 1)")
    frames.add_argument("--stride", type=int, help="track every STRIDE-th frame instead")
    frames.add_argument("--max-frames", type=int, default=64, help="at most so many, spread evenly (default 64)")
    frames.add_argument("--every-frame", action="store_true", help="a mask for each frame of the file, however long")
    frames.add_argument("--start", type=float, help="begin here (seconds)")
    frames.add_argument("--end", type=float, help="end here (seconds)")
    frames.add_argument("--source-fps", type=float, default=30.0, help="rate of a folder of frames (default 30)")
    frames.add_argument("--allow-truncated", action="store_true", help="use what can be read of a file that ends early")
    words = parser.add_argument_group("how to answer")
    words.add_argument("--max-new-tokens", type=int, default=512, help="longest answer (default 512)")
    words.add_argument("--temperature", type=float, default=0.0, help="0 = always the likeliest token (default)")
    words.add_argument("--top-k", type=int, help="sample among the k likeliest tokens only")
    words.add_argument("--top-p", type=float, help="sample among the likeliest tokens of this mass")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--mode", choices=("tracked", "framewise"), help="default: the checkpoint's")
    words.add_argument(
        "--max-objects", type=int, default=32, help="most objects; an answer that names more is an error (default 32)"
    )
    words.add_argument(
        "--protocol",
        choices=("default", "reference"),
        default="default",
        help="reference: a [SEG] written in the prompt counts as an object, too, as in the original",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--out", type=Path, help="folder for answer.json, overlay.mp4 and answer.png")
    output.add_argument("--masks", action="store_true", help="also write a PNG per object and frame")
    output.add_argument("--no-overlay", action="store_true", help="do not render overlay.mp4 and answer.png")
    output.add_argument("--stream", action="store_true", help="print the answer while it is written")
    output.add_argument("--quiet", action="store_true", help="no progress bars")


def ask_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("video", type=Path, help="video file, folder of frames, or image")
    parser.add_argument("prompt", help='the question, e.g. "Please segment the animal and describe what it does."')
    checkpoint_arguments(parser, required=True)
    sampling_arguments(parser)


def ask(args: argparse.Namespace) -> int:
    """Answers a question about a video; each object the answer names gets a mask in every tracked frame."""
    use_compilation_cache()
    from vglamm_jax.infer.command import ask_command

    return ask_command(args)


def demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("video", type=Path, nargs="?", help="default: a clip made up on the spot")
    parser.add_argument("prompt", nargs="?", default="Please segment the objects and say what they do.")
    checkpoint_arguments(parser, required=False)
    sampling_arguments(parser)
    names = ("fps", "max_frames", "every_frame", "max_new_tokens", "temperature")
    like_ask = {name: parser.get_default(name) for name in names}
    parser.set_defaults(out=Path("outputs/demo"), like_ask=like_ask, **dict.fromkeys(names))


def demo(args: argparse.Namespace) -> int:
    """Shows the whole path from a video to masks. Without --checkpoint the model is tiny and untrained: it
    proves that everything runs on this machine, and its answers mean nothing; unless options say otherwise, it
    writes 24 tokens drawn at temperature 1 and masks every frame. The answer goes to outputs/demo by default."""
    use_compilation_cache()
    from vglamm_jax.infer.demo import demo_command

    return demo_command(args)


# ------------------------------------------------------------------------------------------- weights


def convert_arguments(parser: argparse.ArgumentParser) -> None:
    from vglamm_jax.convert import command

    command.add_arguments(parser)


def convert(args: argparse.Namespace) -> int:
    """Converts checkpoints: any PyTorch form of VideoGLaMM or its parts to Orbax, and Orbax to PyTorch, bit for bit."""
    from vglamm_jax.convert import command

    return command.main(args)


# ------------------------------------------------------------------------------------------- training


def train_arguments(parser: argparse.ArgumentParser) -> None:
    from vglamm_jax.train import command

    command.add_arguments(parser)


def train(args: argparse.Namespace) -> int:
    """Trains what a config says: model, data, optimiser and mesh on one page. A run that was stopped goes on."""
    use_compilation_cache()
    from vglamm_jax.train import command

    return command.main(args)


# ------------------------------------------------------------------------------------------------ data


def data_arguments(parser: argparse.ArgumentParser) -> None:
    from vglamm_jax.data import command

    command.add_arguments(parser)


def data(args: argparse.Namespace) -> int:
    """Data before training: what is wrong with it, what is in it, how it looks; public sets built for training."""
    from vglamm_jax.data import command

    return command.main(args)


# ----------------------------------------------------------------------------------------- measuring


def parity_arguments(parser: argparse.ArgumentParser) -> None:
    from vglamm_jax.infer import parity_arguments as arguments

    arguments.add_arguments(parser)


def parity(args: argparse.Namespace) -> int:
    """Runs a golden folder (a checkpoint, inputs, and what the original computed) through this code and compares
    every stage in the data's order. Exit code 1 and the name of the first stage that disagrees on failure."""
    use_compilation_cache()
    from vglamm_jax.infer import parity as module
    from vglamm_jax.train.parity import stages as training

    return module.main(args, more=training)


def bench_arguments(parser: argparse.ArgumentParser) -> None:
    from vglamm_jax.bench import command

    command.add_arguments(parser)


def bench(args: argparse.Namespace) -> int:
    """Measures this machine; every figure is a ratio taken in one run."""
    from vglamm_jax.bench import command

    return command.main(args)


def aot_arguments(parser: argparse.ArgumentParser) -> None:
    from vglamm_jax.aot import command

    command.add_arguments(parser)


def aot(args: argparse.Namespace) -> int:
    """Compiles the real programs for a TPU topology on this machine and prints what each needs per chip."""
    from vglamm_jax.aot import command

    return command.main(args)


def use_compilation_cache() -> None:
    """Compiled programs are kept between runs; VGLAMM_CACHE names the folder, empty switches it off."""
    import jax

    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vglamm_jax" / "compiled"
    folder = os.environ.get("VGLAMM_CACHE", str(default))
    if folder:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


if __name__ == "__main__":
    sys.exit(main())
