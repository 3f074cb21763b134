"""What a text allows to be done to its pictures: mirroring, playing backwards, other hues.

Mirrored pictures need the words left and right swapped, which is possible only where these are directions: somebody
who "left the room" or stands "right behind the car" is not moved to the other side. Where in doubt, the answer is no.
"""

import re


def _words(text: str) -> set[str]:
    return set(text.split())


_SIDES = {"left": "right", "right": "left"}
_TURNS = {"clockwise": "counterclockwise", "counterclockwise": "clockwise"}
_HANDED = re.compile(
    r"\b(?P<side>left|right)(?P<tail>most|wards?|-hand(?!ed))?\b"
    r"|\b(?P<turn>clockwise|(?:counter|anti)-?clockwise)\b",
    re.IGNORECASE,
)
_UNMIRRORABLE = re.compile(
    r"\b(text|letters?|words?|numbers?|digits?|signs?|logos?|writing|written|writes|reads|says|labell?ed|clock"
    r"|east\w*|west\w*|(?:left|right)-?handed)\b",
    re.IGNORECASE,
)
_OWNERS = {"the", "its", "his", "her", "their", "your", "my", "far", "upper", "lower", "top", "bottom", "front", "back"}
_TOWARDS = {"to", "on", "from", "at", "facing", "faces", "and", "or", "then"}
_MOTIONS = re.compile(
    r"(turn|mov|go|going|look|lean|fac|point|run|walk|driv|swim|slid|roll|fly|fli|drift|head|steer|swing|step|swerv"
    r"|veer|travel|glid|float|bounc|shift|rid|jump|fall|pull|push|bend|curv|rotat)\w*$"
)
_NOUNS = {"side", "hand", "corner", "edge", "half", "end", "part", "arm", "leg", "foot", "eye", "ear", "wheel", "wing"}
_NOUNS |= {"paw", "one", "lane", "border", "third", "shoulder", "knee", "of"}
_ADVERBIAL = _words("behind next after before beside under above below now away in into there here where through")
_ADVERBIAL |= _words("by along against near across over outside inside beneath between until when")
_LEAVING = {"the", "a", "an", "his", "her", "its", "their", "alone", "over", "behind", "in", "at", "when", "after"}
_CORRECT = _words("answer time way moment order size amount kind type thing choice tool")  # "the right answer"

_STILL = _words("standing sitting wearing holding lying resting parked facing carrying having being including")
_STILL |= _words("king ring thing something nothing anything everything string building ceiling clothing evening")
_STILL |= _words("morning painting during interleaving segmenting")
_IN_TIME = re.compile(
    r"(mov|walk|run|ran|turn|enter|leav|appear|disappear|vanish|start|stop|begin|began|end|jump|fall|fell|rise|rose"
    r"|climb|descend|drop|throw|threw|catch|caught|pick|put|open|clos|push|pull|driv|drove|rid|rode|fly|fli|flew"
    r"|swim|swam|roll|slid|spin|spun|rotat|grow|grew|shrink|shrank|approach|follow|chas|pass|cross|overtak|return"
    r"|accelerat|becom|becam|chang|lift|rais|kick|hit|gave|tak|took|bounc|swing|swung|reach|hand|pour|cut|break"
    r"|brok|serv|shoot|shot|score|land|launch|arriv|depart|exit|com|go|speed|slow|circl|zoom|pan|float|drift|glid)"
    r"(e|s|es|ed|d|ing|ings|n|en|ne|er|ers|ning|ping|ting|y|ies)?$"
)
_ORDER = _words("first second then next later after before finally last once again until while when eventually")
_ORDER |= _words("afterwards meanwhile up down forward forwards backward backwards toward towards away into out")
_ORDER |= _words("off onto faster slower came went left time moment clockwise counterclockwise")
_IN_THE_MEDIA = re.compile(r"^ (in|throughout) (this|the) (video|clip|image|picture)\b")
# Verbs are endless. With a subject they end in s ("creeps"), and so do the subjects of those that do not ("they creep"
# apart); adjectives that end in ed are few. What is not listed here counts as a verb.
_NO_VERBS = _words("is was has this its his us as masks always wears holds stands sits lies jeans glasses")
_NO_VERBS |= _words(
    "red striped spotted dotted coloured colored covered parked seated bearded hooded checked checkered"
)
_NO_VERBS |= _words("tattooed haired eyed shaped patterned tailed sleeved horned bed shed wooded curved pointed")
_COLOURS = re.compile(
    r"\b(red|orange|yellow|green|blue|purple|violet|pink|brown|cyan|magenta|turquoise|beige|golden?|maroon|tan|teal"
    r"|crimson|scarlet|khaki|lilac|colou?r(s|ed)?)(dish|ish)?\b",
    re.IGNORECASE,
)


def mirrored(text: str) -> str | None:
    """The text of the mirrored picture, None where that cannot be said."""
    if _UNMIRRORABLE.search(text):
        return None
    if not all(_is_direction(text, match) for match in _HANDED.finditer(text)):
        return None
    return _HANDED.sub(_swapped, text)


def reversible(text: str) -> bool:
    """Whether it stays true when the video is played backwards: nothing in it moves, happens or comes in an order.

    Few texts pass, and plurals do not.
    """
    for word in re.findall(r"[a-z]+", text.lower().replace("next to", "beside")):
        if word in _STILL:
            continue
        if word in _ORDER or word.endswith(("ing", "wards")) or _IN_TIME.match(word):
            return False
        if word.endswith(("s", "ed")) and not word.endswith("ss") and word not in _NO_VERBS:
            return False
    return True


def names_colour(text: str) -> bool:
    """Whether another hue would make it wrong."""
    return _COLOURS.search(text) is not None


def _is_direction(text: str, match: re.Match) -> bool:
    if match["turn"] or match["tail"]:
        return True
    before, after = _neighbours(text, match)
    if after in _CORRECT:
        return False
    if before in _OWNERS or after in _NOUNS:
        return True
    if after in (_ADVERBIAL if match["side"].lower() == "right" else _LEAVING):
        return False
    return before in _TOWARDS or bool(_MOTIONS.match(before)) or after == "to"


def _neighbours(text: str, match: re.Match) -> tuple[str, str]:
    """The words beside a match, in lower case; "" where a mark stands between."""
    before = re.search(r"([\w'-]+)\s+$", text[: match.start()])
    rest = _IN_THE_MEDIA.sub("", text[match.end() :], count=1)
    after = re.match(r"(?:\s+|-)([\w']+)", rest)
    return (before[1].lower() if before else "", after[1].lower() if after else "")


def _swapped(match: re.Match) -> str:
    if match["turn"]:
        plain = "clockwise" if match["turn"].lower() == "clockwise" else "counterclockwise"
        return _cased(_TURNS[plain], match["turn"])
    return _cased(_SIDES[match["side"].lower()], match["side"]) + (match["tail"] or "")


def _cased(word: str, like: str) -> str:
    if like.isupper():
        return word.upper()
    return word.capitalize() if like[0].isupper() else word
