"""A dense caption: every thing by its looks, and what it does, with the characters that name it."""

import dataclasses

from vglamm_jax.data.synthetic.language import Speaker, without_article
from vglamm_jax.data.synthetic.paths import choose
from vglamm_jax.data.synthetic.scene import Description, Scene
from vglamm_jax.data.synthetic.vocabulary import DIRECTIONS, MOTIONS

UNCLEAR = "can be seen"
_JOINTS = (" while ", " and ")
_VAGUE = ("stop", "start", "move")


def _vagueness(motion: str) -> int:
    if ">" in motion or motion.startswith(("enter", "leave")):
        return 0
    return 1 if " " in motion else 3 if motion in _VAGUE else 2


_MOST_TELLING = sorted(MOTIONS, key=_vagueness)


@dataclasses.dataclass(frozen=True)
class CaptionPhrase:
    start: int
    end: int
    thing: int


@dataclasses.dataclass(frozen=True)
class Caption:
    text: str
    phrases: tuple[CaptionPhrase, ...]


def caption(scene: Scene, speaker: Speaker, max_phrases: int) -> Caption:
    """Names the things seen, those with the most pixels first, look-alikes together; at most `max_phrases` of them."""
    text, phrases = "", []
    named = _named(scene, max_phrases)
    for n, i in enumerate(named):
        twin = scene.world.pair is not None and i in scene.world.pair
        if n == 0:
            joint = ""
        elif n % 2:
            joint = choose(speaker.rng, _JOINTS)
        else:
            joint = ". "
        who = _name(scene, i, "another" if twin and n and named[n - 1] in scene.world.pair else None, speaker)
        text += joint
        start = len(text)
        text += who if joint in _JOINTS else who[0].upper() + who[1:]
        phrases.append(CaptionPhrase(start, len(text), i))
        text += " " + _does(scene, i, speaker)
    return Caption(text + ".", tuple(phrases))


def _named(scene: Scene, most: int) -> list[int]:
    """The first things, but never one look-alike without the other, unless there is room for only one thing."""
    order, pair = _order(scene), scene.world.pair or ()
    if len(set(order[:most]) & set(pair)) == 1 and most > 1:
        order = [i for i in order if i not in pair] if set(pair) <= set(order) else order
    return order[:most]


def _order(scene: Scene) -> list[int]:
    """The more pixels are seen over the clip, the earlier; the second look-alike right after the first."""
    pixels, pair = scene.layers.visible.sum(1), scene.world.pair
    order = sorted((i for i in range(len(pixels)) if scene.layers.seen[i].any()), key=lambda i: (-pixels[i], i))
    if pair and set(pair) <= set(order):
        first, second = sorted(pair, key=order.index)
        order.remove(second)
        order.insert(order.index(first) + 1, second)
    return order


def _name(scene: Scene, i: int, article: str | None, speaker: Speaker) -> str:
    look = scene.world.things[i].look
    texture = None if look.texture == "plain" else look.texture
    words = without_article(Description(look.colour, look.shape, texture, look.size), speaker)
    article = article or ("an" if words[0] in "aeiou" else "a")
    return f"{article} {words}"


def _does(scene: Scene, i: int, speaker: Speaker) -> str:
    """The most telling motion that is certain; its speed only sometimes, unless a look-alike goes the same way."""
    certain = [motion for motion in _MOST_TELLING if scene.does[i][motion]]
    pair = scene.world.pair
    same_way = pair and i in pair and any(scene.does[pair[0]][d] and scene.does[pair[1]][d] for d in DIRECTIONS)
    if not same_way and speaker.rng.random() < 0.5:
        certain = [motion for motion in certain if not motion.endswith((" fast", " slow"))]
    return speaker.verb(certain[0], "third") if certain else UNCLEAR
