"""`--config.optimizer.learning_rate=1e-4`: fields of a config set from the command line, checked against their types.

The way of ml_collections' config flags, for plain dataclasses: a misspelt field, or a value of another type, is an
error. Text is written as it is, None as `none`, tuples as `a,b` or `(1,2)`; items of tuples have numbers, as in
`--config.mixture.0.weight=2`.
"""

import dataclasses
import difflib
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

PREFIX = "--config."


def override(cfg: Any, arguments: list[str]) -> Any:
    """A copy of the config with every `--config.key=value` applied, in order.

    Raises:
      ValueError: an argument of another form, an unknown field, or a value that does not fit.
    """
    for argument in arguments:
        key, equals, text = argument.removeprefix(PREFIX).partition("=")
        if not argument.startswith(PREFIX) or not equals or not key:
            raise ValueError(f"{argument}: expected {PREFIX}key=value")
        cfg = _with(cfg, type(cfg), key.split("."), text, argument)
    return cfg


def _with(value: Any, hint: Any, keys: list[str], text: str, argument: str) -> Any:
    """The value with what `keys` lead to replaced; itself when there are none left."""
    if not keys:
        return _parsed(text, hint, argument)
    if dataclasses.is_dataclass(value):
        hints = get_type_hints(type(value))
        if keys[0] not in hints:
            raise ValueError(f"{argument}: {type(value).__name__} has no field {keys[0]!r}{_nearest(keys[0], hints)}")
        inner = _with(getattr(value, keys[0]), hints[keys[0]], keys[1:], text, argument)
        return dataclasses.replace(value, **{keys[0]: inner})
    if isinstance(value, tuple):
        place = int(keys[0]) if keys[0].isdigit() else len(value)
        if place >= len(value):
            raise ValueError(f"{argument}: {keys[0]!r} is no place among {len(value)}; they count from 0")
        inner = _with(value[place], type(value[place]), keys[1:], text, argument)
        return (*value[:place], inner, *value[place + 1 :])
    raise ValueError(f"{argument}: {keys[0]!r} is a field of what is {value!r} here; state it in the config file")


def _nearest(name: str, known) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]}?" if close else f"; it has {', '.join(known)}"


def _parsed(text: str, hint: Any, argument: str) -> Any:
    for kind in _alternatives(hint):
        try:
            return _as(text, kind)
        except (ValueError, SyntaxError):
            continue
    raise ValueError(f"{argument}: {text!r} is not {_said(hint)}")


def _alternatives(hint: Any) -> tuple:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _as(text: str, kind: Any) -> Any:
    """The text as a value of one type. Raises ValueError or SyntaxError."""
    if kind is type(None):
        return _among(text.lower(), {"none": None})
    if kind is bool:
        return _among(text.lower(), {"true": True, "false": False})
    if get_origin(kind) is Literal:
        return _among(text, {str(choice): choice for choice in get_args(kind)})
    if get_origin(kind) is tuple:
        return _tuple(text, get_args(kind))
    if kind in (int, float, str):
        return kind(text)
    raise ValueError(kind)


def _among(text: str, values: dict[str, Any]) -> Any:
    if text not in values:
        raise ValueError(text)
    return values[text]


def _tuple(text: str, kinds: tuple) -> tuple:
    parts = [part.strip().strip("'\"") for part in text.strip().strip("()[]").split(",") if part.strip()]
    kinds = kinds[:1] * len(parts) if kinds[1:] == (...,) else kinds
    if len(parts) != len(kinds):
        raise ValueError(text)
    return tuple(_as(part, kind) for part, kind in zip(parts, kinds))


def _said(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "none"}
    said = []
    for kind in _alternatives(hint):
        if get_origin(kind) is Literal:
            said += map(str, get_args(kind))
        elif get_origin(kind) is tuple:
            said.append(f"values of the form {kind}".replace("typing.", ""))
        else:
            said.append(names.get(kind, f"settable whole: name a field of {getattr(kind, '__name__', kind)}"))
    return " or ".join(said)
