"""Every text is parsed back into what it says, and that is looked up in the state of the world, or in the pixels."""

import dataclasses
import re

import numpy as np
import pytest

from vglamm_jax.data.synthetic.benchmark import make_clip
from vglamm_jax.data.synthetic.captions import UNCLEAR
from vglamm_jax.data.synthetic.expressions import KINDS, names_held_out
from vglamm_jax.data.synthetic.language import FORMS
from vglamm_jax.data.synthetic.moments import span
from vglamm_jax.data.synthetic.parsing import ParseError, parse, parse_moment
from vglamm_jax.data.synthetic.scene import Description
from vglamm_jax.data.synthetic.vocabulary import COLOURS, DIRECTIONS, MOTIONS
from vglamm_jax.data.synthetic.words import PHRASINGS, motion_of_phrase, phrasings
from vglamm_jax.data.synthetic.world import Settings
from vglamm_jax.data.wording import mirrored

LOOKS = ("colour", "shape", "texture", "size")


def looks_of(meant: Description) -> Description:
    return Description(**{name: getattr(meant, name) for name in LOOKS})


def test_each_expression_refers_to_exactly_what_it_says(all_told):
    count = 0
    for one in all_told:
        for expression in one.expressions:
            assert one.scene.things(parse(expression.text)) == expression.things, expression.text
            count += 1
    assert count > 1200


def test_no_expression_leaves_anything_to_argue_about(all_told):
    for one in all_told:
        for expression in one.expressions:
            assert None not in one.scene.satisfies(parse(expression.text)), expression.text


def test_each_kind_is_what_its_name_says(all_told):
    for one in all_told:
        scene = one.scene
        for expression in one.expressions:
            meant = parse(expression.text)
            of_that_look = scene.things(looks_of(meant))
            if expression.kind == "appearance":
                assert meant == looks_of(meant) and len(expression.things) == 1
            elif expression.kind == "motion":
                assert len(expression.things) == 1 and set(expression.things) < set(scene.world.pair)
                assert meant.motion and not meant.relation and not meant.place
                assert of_that_look == scene.world.pair, "looks fit both, and nothing else"
            elif expression.kind == "relation":
                assert len(expression.things) == 1 and (meant.relation or meant.place) and not meant.motion
                assert of_that_look != expression.things, "looks alone would do"
            elif expression.kind == "several":
                assert len(expression.things) > 1 and meant.plural
                assert meant.count in (None, len(expression.things))
            else:
                assert expression.things == ()


def test_three_things_or_more_get_all_kinds_in_both_forms(all_told):
    many = [one for one in all_told if len(one.scene.world.things) > 2]
    assert len(many) > 90
    for one in many:
        assert {(e.kind, e.form) for e in one.expressions} == {(kind, form) for kind in KINDS for form in FORMS}
        assert [e.text.endswith("?") for e in one.expressions] == [e.form == "interrogative" for e in one.expressions]


def test_relations_to_other_things_are_not_rare(all_told):
    related = [e.description.relation for one in all_told for e in one.expressions if e.kind == "relation"]
    assert np.mean([relation is not None for relation in related]) > 0.4
    assert {"left of", "right of", "above", "below", "in front of", "behind"} <= set(related)


def test_moments_name_one_thing_and_the_frames_in_which_it_does_that(all_told):
    partial = 0
    for one in all_told:
        assert [moment.form for moment in one.moments] == list(FORMS)
        for moment in one.moments:
            meant, when = parse_moment(moment.text)
            assert one.scene.things(meant) == (moment.thing,), moment.text
            assert span(one.scene, moment.thing, when) == moment.frames
            partial += moment.frames != (0, one.scene.world.settings.frames - 1)
    assert partial > 1.5 * len([one for one in all_told if len(one.scene.world.things) > 2])


def clauses(caption):
    """(thing, noun phrase, verb phrase) of each phrase."""
    ends = [*(phrase.start for phrase in caption.phrases[1:]), len(caption.text)]
    for phrase, end in zip(caption.phrases, ends):
        doing = re.sub(r"( while| and|\.) ?$", "", caption.text[phrase.end : end])
        yield phrase.thing, caption.text[phrase.start : phrase.end], doing.strip()


def test_captions_say_of_each_thing_how_it_looks_and_what_it_does(all_told):
    unclear = total = 0
    for one in all_told:
        limit = one.scene.world.settings.max_phrases
        for thing, words, doing in clauses(one.caption):
            assert one.scene.satisfies(parse(words))[thing]
            if doing != UNCLEAR:
                assert one.scene.does[thing][motion_of_phrase()[doing]], (words, doing)
            unclear += doing == UNCLEAR
            total += 1
        seen = int(one.scene.layers.seen.any(1).sum())
        assert len({phrase.thing for phrase in one.caption.phrases}) >= min(seen, limit) - 1
        assert len(one.caption.phrases) <= limit
    assert unclear < 0.02 * total


def test_motion_words_hold_in_the_pixels(all_told):
    """Centres of gravity of masks that are whole, camera shake included."""
    checked = 0
    for one in all_told:
        layers, world = one.scene.layers, one.scene.world
        masks, side = layers.masks(), min(world.settings.size)
        for i, does in enumerate(one.scene.does):
            whole = np.flatnonzero(layers.visible[i] >= 0.97 * layers.whole[i])
            if len(whole) < 4:
                continue
            centres = np.array([np.argwhere(masks[i, t])[:, ::-1].mean(0) for t in whole])
            first, last = _longest_run(whole)
            moved = (centres[last] - centres[first]) / side
            for word, (x, y) in DIRECTIONS.items():
                if does[word] and last - first > 4:
                    assert moved @ (x, y) > 0.02, (i, word)
                    checked += 1
                if does["still"]:
                    assert abs(moved @ (x, y)) < 0.04
            areas = layers.whole[i][whole]
            if does["grow"] or does["shrink"]:
                assert (areas[-1] > areas[0]) == bool(does["grow"])
    assert checked > 100


def _longest_run(frames: np.ndarray) -> tuple[int, int]:
    """First and last place of the longest stretch of neighbouring frames."""
    runs = np.split(np.arange(len(frames)), np.flatnonzero(np.diff(frames) > 1) + 1)
    longest = max(runs, key=len)
    return int(longest[0]), int(longest[-1])


def test_colour_words_hold_in_the_pixels():
    names, palette = list(COLOURS), np.array(list(COLOURS.values()), float)
    palette /= np.linalg.norm(palette, axis=1, keepdims=True)
    for index in range(6):
        clip = make_clip("train", 12, index, Settings(noise=3))
        for i, thing in enumerate(clip.scene.world.things):
            shown = clip.frames[clip.masks[i]].astype(float)
            bright = shown[shown.sum(1) >= np.median(shown.sum(1))].mean(0)
            nearest = names[int((palette @ (bright / np.linalg.norm(bright))).argmax())]
            assert nearest == thing.look.colour, (index, i)


def test_train_and_validation_never_name_a_held_out_combination(told):
    for split in ("train", "validation"):
        for one in told[split]:
            assert not any(names_held_out(parse(expression.text)) for expression in one.expressions)
    assert any(names_held_out(parse(e.text)) for one in told["test"] for e in one.expressions)


def test_every_motion_has_words_of_its_own_and_some_are_kept_back():
    assert set(PHRASINGS) == set(MOTIONS)
    assert set(motion_of_phrase().values()) == set(MOTIONS)
    for motion in MOTIONS:
        assert not set(phrasings(motion, "train")) & set(phrasings(motion, "held-out"))


def test_texts_can_be_mirrored_and_then_mean_the_mirrored_thing(all_told):
    swap = {"left": "right", "right": "left"}
    for one in all_told[::3]:
        assert mirrored(one.caption.text)
        for expression in one.expressions:
            meant, other = parse(expression.text), parse(mirrored(expression.text))
            if meant.motion in swap or (meant.relation or "").split(" ")[0] in swap:
                assert other != meant
            assert dataclasses.replace(looks_of(other), plural=meant.plural) == dataclasses.replace(
                looks_of(meant), plural=meant.plural
            )


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("the small red circle", Description(size="small", colour="red", shape="circle")),
        ("Which two stars go up?", Description(shape="star", motion="up", count=2, plural=True)),
        ("all striped things", Description(texture="striped", plural=True)),
        (
            "the ring to the left of the blue cross",
            Description(shape="ring", relation="left of", anchor=Description(colour="blue", shape="cross")),
        ),
        ("Where is the topmost square?", Description(shape="square", place="topmost")),
    ],
)
def test_parsing_by_hand(text, meaning):
    assert parse(text) == meaning


@pytest.mark.parametrize("text", ["the small dog", "the circle that sings", "red", "the red blue circle"])
def test_words_without_a_meaning_here_are_refused(text):
    with pytest.raises(ParseError):
        parse(text)
