"""What is said of a model that nobody has."""

from hypothesis import given
from hypothesis import strategies as st

from ollama_admin.rules.absence import nearest


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


@given(st.text(max_size=12), st.lists(st.text(max_size=12), max_size=6))
def test_the_nearest_names_are_names_that_are_known(asked: str, known: list[str]) -> None:
    found = nearest(asked, known)
    assert len(found) == len(set(found)) <= 3
    assert set(found) <= set(known)
