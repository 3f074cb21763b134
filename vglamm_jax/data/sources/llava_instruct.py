"""LLaVA-Instruct-150K: conversations, descriptions and reasoning about COCO pictures, without masks (facts 6.3)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from vglamm_jax.data.schema import BadRecord, Example, Turn
from vglamm_jax.data.sources.own import DataError
from vglamm_jax.data.sources.pictures import guarded, known_split, picture, read_list, share
from vglamm_jax.data.sources.registry import WHOLE, Part

FILE = "llava_dataset/llava_instruct_150k.json"
LAYOUT = f"{FILE} and coco/train2017/*.jpg"
SOURCE = "llava_instruct"
SPLITS = ("train",)


def examples(root: Path, split: str = "train", *, part: Part = WHOLE) -> Iterator[Example | BadRecord]:
    """An example a conversation, in the file's order. Ids are "<the file's id>-<place in the file>": an image has up to
    three conversations under one id.

    Raises:
        FileNotFoundError, ValueError: see `registry.examples`.
    """
    known_split(split, SPLITS, SOURCE)
    entries = read_list(root / FILE, LAYOUT)
    for place, entry in share(enumerate(entries), part):
        id = f"{entry.get('id')}-{place:06d}"
        yield from guarded(SOURCE, id, _example(root, split, id, entry))


def _example(root: Path, split: str, id: str, entry: dict) -> Iterator[Example]:
    media = picture(root, f"coco/train2017/{entry['image']}")
    yield Example(id=id, source=SOURCE, split=split, media=media, turns=tuple(_turns(entry["conversations"])))


def _turns(messages: Sequence[dict]) -> Iterator[Turn]:
    """Raises DataError unless people and model alternate, people first."""
    speakers = [message["from"] for message in messages]
    if not messages or len(messages) % 2 or speakers != ["human", "gpt"] * (len(messages) // 2):
        raise DataError(f"expected human and gpt in turn, got {', '.join(map(str, speakers)) or 'nothing'}")
    texts = [message["value"].replace("<image>", "").strip() for message in messages]
    return (Turn(question=asked, answer=said) for asked, said in zip(texts[::2], texts[1::2]))
