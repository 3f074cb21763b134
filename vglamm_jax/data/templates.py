"""The wordings of requests and of short answers (facts section 6: as many of each kind as the original has).

Sources write the first of a kind, or how the original asks when it evaluates (`Group.evaluated`); training draws any,
the one written included. `{what}` is an expression, `{kind}` "video" or "image"; `{start}` and `{end}` stay until the
frames are chosen.
"""

from typing import NamedTuple

import numpy as np

SEG = "[SEG]"

SEGMENT = {  # a request for the mask of one expression
    "image": (
        "Please segment {what} in this image.",
        "Where is {what} in the image? Mark it with a segmentation mask.",
        "Find {what} in this picture and give me its mask.",
        "I need the segmentation mask of {what} in this image.",
    ),
    "video": (
        "Please segment {what} in this video.",
        "Where is {what} in the video? Mark it with segmentation masks.",
        "Find {what} in this clip and give me its masks.",
        "I need the segmentation masks of {what} throughout this video.",
    ),
}
SEGMENT_BY_SENTENCE = (  # the same for a whole sentence or question
    "{what} Please answer with a segmentation mask.",
    "{what} Mark it with a segmentation mask.",
    "{what} Show me by segmenting it.",
)
SEGMENT_ANSWERS = (
    f"Sure, {SEG}.",
    f"It is {SEG}.",
    f"Here is the mask: {SEG}.",
    f"Of course, this is it: {SEG}.",
    f"{SEG}.",
)
DESCRIBE = {  # a request for a caption with a mask for everything it names
    "image": (
        "Describe this image in detail and mark each thing you name with a segmentation mask.",
        "What can be seen in the image? Interleave your answer with segmentation masks.",
        "Please give me a detailed description of the picture, with a mask for every object in it.",
        "Tell me all about this image and segment what you talk about.",
        "Write a caption of this picture that shows the masks of the things it names.",
        "Explain what is in the image, with segmentation masks in your answer.",
    ),
    "video": (
        "Describe this video in detail and mark each thing you name with segmentation masks.",
        "What happens in the video? Interleave your answer with segmentation masks.",
        "Please give me a detailed description of the clip, with masks for every object in it.",
        "Tell me all about this video and segment what you talk about.",
        "Write a caption of this clip that shows the masks of the things it names.",
        "Explain what is going on in the video, with segmentation masks in your answer.",
    ),
}
LOCATE = (  # a request for the time of an event
    "When does this happen in the video: {what}?",
    "In which frames of the video can one see this: {what}?",
    "Tell me the first and the last frame of the following event: {what}.",
    "Find the part of the video that shows this: {what}.",
)
LOCATE_ANSWERS = (
    "It happens in frames:({{start}},{{end}}).",
    "One can see it in frames:({{start}},{{end}}).",
    "That is in frames:({{start}},{{end}}).",
    "The event takes place in frames:({{start}},{{end}}).",
    "frames:({{start}},{{end}}).",
)
GROUND = (  # a request for the time and the masks of what a sentence is about
    "Segment what this sentence is about and say when it happens: {what}",
    "Where and when is this in the video: {what}? Give masks and frames.",
    "Find in space and time: {what}",
)
GROUND_BY_QUESTION = (
    "{what} Answer with segmentation masks and the frames.",
    "{what} Segment it and say when it happens.",
    "{what} Show me where and when.",
    "Answer with masks and frame numbers: {what}",
    "{what} Mark it in the video and name the first and the last frame.",
)
GROUND_ANSWERS = (
    f"It is {SEG}, in frames:({{{{start}}}},{{{{end}}}}).",
    f"Sure, {SEG}, in frames:({{{{start}}}},{{{{end}}}}).",
    f"Here it is: {SEG}. It happens in frames:({{{{start}}}},{{{{end}}}}).",
    f"{SEG} in frames:({{{{start}}}},{{{{end}}}}).",
    f"This is the mask: {SEG}, and these are the frames:({{{{start}}}},{{{{end}}}}).",
)
ANSWER_WITH_MASKS = (  # a question whose answer shall show what it names
    "{what} Mark what you name with segmentation masks.",
    "{what} Interleave your answer with segmentation masks.",
    "{what} Segment the things in your answer.",
)


class Group(NamedTuple):
    """Wordings that may stand for each other, by kind of media where they differ, and others that mean the same."""

    wordings: tuple[str, ...] | dict[str, tuple[str, ...]]
    evaluated: tuple[str, ...] = ()

    def opening(self, text: str, what: str, kind: str) -> str:
        """The longest of all wordings that the text is, or goes on after; the text if it is none."""
        own = self.wordings[kind] if isinstance(self.wordings, dict) else self.wordings
        filled = [fill(template, what, kind) for template in (*own, *self.evaluated)]
        return max((one for one in filled if f"{text} ".startswith(f"{one} ")), key=len, default=text)

    def variants(self, what: str, kind: str, written: str) -> list[str]:
        """The wordings, with `written` if that is one of the evaluation's; nothing if it is none of these."""
        own = self.wordings[kind] if isinstance(self.wordings, dict) else self.wordings
        own = [fill(template, what, kind) for template in own]
        if written in own:
            return own
        return [*own, written] if written in [fill(template, what, kind) for template in self.evaluated] else []


_DETAILED = (
    "Could you please give me a detailed description of the {kind}? "
    "Please respond with interleaved segmentation masks for the corresponding parts of the answer."
)
_EACH_NAMED = "Please describe this {kind} in detail, with a mask for each object you name."
_RESPOND = "{what} Please respond with segmentation masks."
_INTERLEAVED = "{what} Please respond with interleaved segmentation masks for the corresponding parts of the answer."
QUESTIONS = {
    "segment": (
        Group(SEGMENT, ("What is {what} in this {kind}? Please respond with segmentation masks.",)),
        Group(SEGMENT_BY_SENTENCE, (_RESPOND,)),
    ),
    "describe": (Group(DESCRIBE, (_DETAILED, _EACH_NAMED)),),
    "locate": (
        Group(LOCATE, ("Can you temporally locate {what} in this video?",)),
        Group(GROUND, ("Can you segment {what} in this video?",)),
        Group(GROUND_BY_QUESTION, (_RESPOND,)),
    ),
    "answer": (Group(ANSWER_WITH_MASKS, (_INTERLEAVED,)),),
}
ANSWERS = {
    "segment": (Group(SEGMENT_ANSWERS),),
    "describe": (),
    "locate": (
        Group(LOCATE_ANSWERS, ("It is in frames:({{start}},{{end}}).",)),
        Group(GROUND_ANSWERS, (f"It is {SEG} in frames:({{{{start}}}},{{{{end}}}}).",)),
    ),
    "answer": (),
}


def fill(template: str, what: str = "", kind: str = "video") -> str:
    return template.format(what=what, kind=kind)


def another(text: str, groups: tuple[Group, ...], what: str | None, kind: str, rng: np.random.Generator) -> str:
    """A wording that may stand for `text`, drawn anew; the text itself if somebody has worded it.

    `text` may go on after a wording: "Sure, [SEG]. It boils." becomes "It is [SEG]. It boils."
    """
    for group in groups:
        written = group.opening(text, what or "", kind)
        variants = group.variants(what or "", kind, written)
        if variants:
            return variants[int(rng.integers(len(variants)))] + text[len(written) :]
    return text
