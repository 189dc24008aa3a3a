"""What Python callers give is of the types of the request's fields, also of those to come."""

from dataclasses import fields
from typing import Any

import pytest

from ollama_admin.domain.requests import GenerateRequest
from ollama_admin.errors import InvalidInput
from ollama_admin.rules.request_types import check_types

LISTS = ("messages", "images", "tools", "context")
NEEDED = ("prompt", "options", "wait", "images", "tools", "labels")
NAMES = [field.name for field in fields(GenerateRequest)]
FITTING: dict[str, tuple[Any, ...]] = {
    "prompt": ("", "hi"),
    "format": ("json", {"type": "object"}),
    "think": (True, "low"),
    "keep_alive": (5, 5.0, "5m"),
    "server": (1, "one"),
    "wait": (1, 1.5),
    "timeout": (1, 1.5),
    "raw": (True, False),
    "top_logprobs": (0, 2),
    "options": ({}, {"seed": 1}),
    "images": ([b"x"], (bytearray(b"x"), memoryview(b"x"))),
    "context": ([1], (1, 2)),
    "messages": ([{"role": "user"}], ()),
    "auth_type": ("bearer",),
    "headers": ({"X-Team": "a"},),
}


def refusal(**given: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        check_types(GenerateRequest(**given))
    return caught.value.message


@pytest.mark.parametrize("name", NAMES)
def test_no_field_takes_what_is_of_no_type_that_it_has(name: str) -> None:
    what = "not a list" if name in LISTS else "not "
    assert refusal(**{name: object()}).startswith(f"{name} is of type object, {what}")


@pytest.mark.parametrize("name", LISTS)
def test_no_list_takes_an_item_of_no_type_that_it_has(name: str) -> None:
    assert refusal(**{name: [object()]}).startswith(f"{name}[0] is of type object, not ")
    for text in ("x", b"x"):
        assert refusal(**{name: text}) == f"{name} is of type {type(text).__name__}, not a list"


@pytest.mark.parametrize("name", NAMES)
def test_none_leaves_a_field_out_that_may_be_left_out(name: str) -> None:
    if name in NEEDED:
        assert refusal(**{name: None}).startswith(f"{name} is of type NoneType, not ")
    else:
        check_types(GenerateRequest(**{name: None}))


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in FITTING.items() for value in values]
)
def test_a_field_takes_values_of_its_types(name: str, value: Any) -> None:
    check_types(GenerateRequest(**{name: value}))


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("digest", 5, "of type int, not text"),
        ("wait", True, "of type bool, not a number"),
        ("top_logprobs", True, "of type bool, not a whole number"),
        ("top_logprobs", 1.5, "of type float, not a whole number"),
        ("raw", 1, "of type int, not true or false"),
        ("headers", [("X-Team", "a")], "of type list, not an object"),
        ("auth_type", 1, "of type int, not text"),
    ],
)
def test_what_a_field_takes_is_told_in_words(name: str, value: Any, what: str) -> None:
    assert refusal(**{name: value}) == f"{name} is {what}"


def test_a_name_among_the_options_is_text() -> None:
    assert refusal(options={1: 2}) == "a name among the options is of type int, not text"
