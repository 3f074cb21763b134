"""How the original picks frames of a record. A source names its rule in meta["frames_rule"]; the pipeline applies it.

The encoders see `E` frames (16), padded with the last one; the mask decoder sees `K` of those that have masks. `even n`
is linspace(0, count - 1, n) cut to whole numbers. Frames that are drawn at random are sorted, in every rule.
"""

ALL = "all"
AROUND = "around"
EVEN = "even"
SECOND = "second"
VISIBLE = "visible"
RANDOM = "random"
ANNOTATED = "annotated"
MOMENT = "moment"
GROUNDING = "grounding"
TEN = "ten"

RULES = {
    ALL: "every frame, for evaluation; the encoders see even E of them",
    AROUND: "5 frames: an anchor (any annotated one; the original takes each fifth in turn), one 1 to 3 before, one "
    "1 to 3 after, two at random outside of those; drawn again if the object is in none; even K of the 5 (facts 6.6)",
    EVEN: "even E of all frames; even K of those (facts 6.7, 6.14, 6.15)",
    SECOND: "one frame a second, more than E thinned to even E; the mask decoder gets the first (facts 6.8, 6.9)",
    VISIBLE: "for each object a random frame that shows it, filled up at random to 5; even K of them (facts 6.11)",
    RANDOM: "5 random frames (the original leaves them unsorted, and fails below 5); even K of them (facts 6.13)",
    ANNOTATED: "all frames, thinned to even E; the mask decoder gets the one frame that has masks (facts 6.12, 6.16)",
    MOMENT: "even E of all frames; even K of those within time_span that show the object (facts 6.10)",
    GROUNDING: "for evaluation: of each second of the clip the first frame, at most 40: number j*n//40; the encoders "
    "see even E of them (facts 6.17, 7.4)",
    TEN: "for evaluation: 10 frames, evenly from the first to the last of the clip (facts 6.17)",
}
