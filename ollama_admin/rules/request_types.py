"""The types of what is asked for from Python, where nothing else has checked them.

They are read from the definition of the request, so that no field can be forgotten here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from ollama_admin.domain.requests import EmbedRequest, GenerateRequest
from ollama_admin.errors import InvalidInput
from ollama_admin.rules.arguments import check_list, check_value, described

_WORDS: Mapping[type, str] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    bytes: "bytes",
    Mapping: "an object",
}
# Fields of which more can be said than of their types.
_MEANINGS: Mapping[str, str] = {
    "format": "json or a JSON schema",
    "think": "true, false or a level",
    "keep_alive": "seconds or a duration",
    "server": "a name or a number",
}
_ALSO: Mapping[type, tuple[type, ...]] = {float: (int,), bytes: (bytearray, memoryview)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What a field may hold: a value of one of the types, or a list of such."""

    what: str
    types: tuple[type, ...]
    is_list: bool
    is_needed: bool


def check_types(asked: GenerateRequest | EmbedRequest) -> None:
    """Raise InvalidInput for a value of another type than its field has; values are not shown."""
    for name, kind in _KINDS[type(asked)].items():
        value = getattr(asked, name)
        if value is None and not kind.is_needed:
            continue
        if kind.is_list:
            check_list(name, value, (kind.what, kind.types))
        else:
            check_value(name, value, (kind.what, kind.types))
    for key in asked.options:
        if not isinstance(key, str):
            raise InvalidInput(f"a name among the options is {described(key)}, not text")


def _kind(name: str, annotation: Any) -> _Kind:
    """What a field of this annotation may hold. A flag may be None, which is as good as false."""
    classes, items = tuple(_classes(annotation)), _item_classes(annotation)
    types = items or classes
    words = dict.fromkeys(_WORDS[some] for some in types if some in _WORDS)
    also = [more for some in types for more in _ALSO.get(some, ())]
    return _Kind(
        what=_MEANINGS.get(name, " or ".join(words)),
        types=types + tuple(also),
        is_list=bool(items),
        is_needed=NoneType not in classes and bool not in classes,
    )


def _classes(annotation: Any) -> Iterator[type]:
    """The classes of the values that an annotation allows."""
    outer, parts = get_origin(annotation), get_args(annotation)
    if outer in (Union, UnionType):
        for part in parts:
            yield from _classes(part)
    elif outer is Literal:
        yield from map(type, parts)
    else:
        yield outer or annotation


def _item_classes(annotation: Any) -> tuple[type, ...]:
    """The classes of the items of a list, where an annotation allows one."""
    for part in (annotation,) + get_args(annotation):
        if get_origin(part) is Sequence:
            [item] = get_args(part)
            return tuple(_classes(item))
    return ()


def _kinds(request: type[GenerateRequest | EmbedRequest]) -> dict[str, _Kind]:
    return {field.name: _kind(field.name, field.type) for field in fields(request)}


_KINDS = {request: _kinds(request) for request in (GenerateRequest, EmbedRequest)}
