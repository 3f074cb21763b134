"""What things can look like and do, and which combinations only the test split shows."""

import dataclasses

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (218, 40, 40),
    "orange": (250, 140, 20),
    "yellow": (246, 220, 40),
    "green": (46, 168, 62),
    "blue": (40, 88, 220),
    "purple": (134, 50, 190),
    "pink": (252, 136, 192),
    "white": (246, 246, 246),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
TEXTURES = ("plain", "striped", "spotted")
SIZES: dict[str, tuple[float, float]] = {"small": (0.066, 0.08), "large": (0.115, 0.14)}  # radius / shorter side
SPLITS = ("train", "validation", "test")

DIRECTIONS: dict[str, tuple[int, int]] = {"right": (1, 0), "left": (-1, 0), "up": (0, -1), "down": (0, 1)}
OPPOSITE = {"right": "left", "left": "right", "up": "down", "down": "up"}
SIDES = {"left": "right", "right": "left", "top": "down", "bottom": "up"}  # a side, and where one goes who enters there

# Motions by class. "a>b" is first a, then b; " fast" and " slow" say how far in a clip.
SIDEWAYS = ("right", "left")
UPRIGHT = ("up", "down")
TURNS = tuple(f"{a}>{b}" for one, two in ((SIDEWAYS, UPRIGHT), (UPRIGHT, SIDEWAYS)) for a in one for b in two)
STOPS = tuple(f"{d}>still" for d in DIRECTIONS)
STARTS = tuple(f"still>{d}" for d in DIRECTIONS)
RETURNS = tuple(f"{d}>{OPPOSITE[d]}" for d in DIRECTIONS)
_PACED = tuple(f"{d} {pace}" for d in DIRECTIONS for pace in ("fast", "slow"))
CLASSES: dict[str, tuple[str, ...]] = {
    "sideways": (*SIDEWAYS, *_PACED[:4], "enter left", "enter right", "leave left", "leave right"),
    "upright": (*UPRIGHT, *_PACED[4:], "enter top", "enter bottom", "leave top", "leave bottom"),
    "pausing": ("still", *STOPS, *STARTS, *RETURNS, "stop", "start", "swing sideways", "swing upright"),
    "curved": (*TURNS, "bounce", "circle clockwise", "circle counterclockwise", "spin", "grow", "shrink"),
}
CLASS_OF = {motion: name for name, motions in CLASSES.items() for motion in motions}
MOTIONS = (*CLASS_OF, "move")  # "move": anything but standing still


@dataclasses.dataclass(frozen=True)
class Look:
    """Appearance. A thing that grows or shrinks has no size of its own."""

    colour: str
    shape: str
    texture: str
    size: str | None


def held_out(colour: str, shape: str, motion: str) -> bool:
    """Whether the combination is kept for the test split: for each colour and shape, one class of motions of the four.

    Every colour with every shape, and either of them with every class of motions, is there in training. Raises
    KeyError for "move" and words that are no motion.
    """
    place = (list(COLOURS).index(colour) + SHAPES.index(shape)) % len(CLASSES)
    return list(CLASSES).index(CLASS_OF[motion]) == place


def classes_for(split: str, colour: str, shape: str) -> list[str]:
    """Classes of motions a thing of this colour and shape may have in the split: the held-out one, or the other three.

    Raises:
        ValueError: an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"Moving Things has no split {split!r}: choose one of {', '.join(SPLITS)}")
    return [name for name, motions in CLASSES.items() if held_out(colour, shape, motions[0]) == (split == "test")]
