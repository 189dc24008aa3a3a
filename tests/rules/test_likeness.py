"""Which of the names that are known look like the one that was asked for."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_admin.rules.likeness import nearest, nearest_servers


def test_the_nearest_names_are_other_tags_first_and_three_at_most() -> None:
    known = ["qwen2:latest", "alpha:latest", "user/qwen3:8b", "qwen3:8b", "Qwen3:4b"]
    assert nearest("qwen3", known) == ["qwen3:8b", "Qwen3:4b", "qwen2:latest"]
    assert nearest("qwen3", [*known, "qwen3:30b", "qwen3:32b"]) == [
        "qwen3:8b",
        "Qwen3:4b",
        "qwen3:30b",
    ]
    assert nearest("alhpa", known) == ["alpha:latest"]
    assert nearest("zzz", known) == []
    assert nearest("x", []) == []


def test_a_tag_that_is_spelt_otherwise_comes_before_another_model_spelt_alike() -> None:
    known = ["qwen2:8b-q4", "zeta:1b", "qwen3:instruct"]
    assert nearest("qwen3:8b-q4", known) == ["qwen3:instruct", "qwen2:8b-q4"]


def test_of_names_that_merely_look_alike_the_three_closest_are_told() -> None:
    known = ["mistral-nemo", "mistral-large", "mistral-small", "mistral"]
    assert nearest("mistrall", known) == ["mistral", "mistral-small", "mistral-large"]


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ("gemma3:27b-it-qta", "gemma3:27b-it-qat"),
        ("gemma3:27b", "gemma3:27b-it-qat"),
        ("gemm", "gemma3:1b"),
        ("gema3:12b", "gemma3:12b"),
        ("GEMMA3:12", "gemma3:12b"),
    ],
)
def test_the_right_name_is_told_first(asked: str, first: str) -> None:
    known = [f"gemma3:{tag}" for tag in ("1b", "4b", "12b", "27b-it-qat", "27b-cloud")]
    assert nearest(asked, ["llama3.2:3b", *known])[0] == first


def test_names_of_servers_are_told_as_well() -> None:
    known = ["first", "second", "gpu-1", "GPU-2", "third"]
    assert nearest_servers("frist", known)[0] == "first"
    assert nearest_servers("gpu", known) == ["gpu-1", "GPU-2"]
    assert nearest_servers("", known) == nearest_servers("zzz", known) == []


@given(st.text(max_size=12), st.lists(st.text(max_size=12), max_size=6))
def test_the_nearest_names_are_names_that_are_known(asked: str, known: list[str]) -> None:
    found = nearest(asked, known)
    assert len(found) == len(set(found)) <= 3
    assert set(found) <= set(known)


def test_comparing_is_bounded_however_many_and_long_the_names_are() -> None:
    """87 s, when all names were compared letter by letter."""
    letters = "abcdefghij" * 19
    names = [letters[number % 97 :] + str(number) + letters[::-1] for number in range(10_000)]
    began = time.thread_time()
    assert len(nearest(letters, names)) <= 3
    assert time.thread_time() - began < 3


def test_a_long_name_is_compared_by_its_first_hundred_letters() -> None:
    known = ["x" * 150 + "/y:latest", "a" * 100 + "b", "zzz"]
    assert nearest("a" * 100 + "c", known) == ["a" * 100 + "b"]


def test_what_differs_behind_the_first_hundred_letters_makes_no_difference() -> None:
    """Of names that are one in these letters the last is told, and one that differs in the
    hundredth is another name.
    """
    same = ["a" * 100 + "b", "a" * 100 + "c"]
    assert nearest_servers("a" * 100 + "d", same) == ["a" * 100 + "c"]
    other = ["a" * 99 + "b", "a" * 99 + "c"]
    assert sorted(nearest_servers("a" * 99 + "d", other)) == other


@pytest.mark.parametrize("likeness", [nearest, nearest_servers])
def test_two_thousand_names_are_looked_at_and_no_more(likeness: object) -> None:
    assert callable(likeness)
    others = [f"{number:x}" for number in range(1999)]
    assert "quarts" in likeness("quartz", [*others, "quarts"])
    assert "quarts" not in likeness("quartz", [*others, "other", "quarts"])


def anagrams(letters: str, count: int) -> list[str]:
    """Names of the same letters in another order: alike at first sight only."""
    backwards = letters[::-1]
    return [backwards[turn:] + backwards[:turn] for turn in range(1, count + 1)]


def test_thirty_names_are_compared_letter_by_letter() -> None:
    asked = "abcdefghijklmnopqrstuvwxyz0123456789"
    close = asked[:-1] + "!"
    assert nearest_servers(asked, [*anagrams(asked, 29), close]) == [close]
    assert nearest_servers(asked, [*anagrams(asked, 30), close]) == []


def test_those_are_compared_that_have_the_most_letters_of_it() -> None:
    others = [f"zz{number}" for number in range(60)]
    assert nearest_servers("alhpa", [*others, "alpha", *others]) == ["alpha"]
