"""What versions of Ollama can do."""

import pytest

from ollama_admin.rules.versions import (
    CONTEXT_4096_SINCE,
    PS_CONTEXT_SINCE,
    keeps_whole_prompt,
    version_key,
)


@pytest.mark.parametrize(
    ("version", "key"),
    [
        ("0.33.0", (0, 33, 0)),
        ("v1.2.3", (1, 2, 3)),
        ("0.12.6-rc1", (0, 12, 6)),
        ("1.2", (1, 2, 0)),
        ("0.0.0", (0, 0, 0)),
        ("dev", (0, 0, 0)),
        ("", (0, 0, 0)),
        ("1234567.0.0", (0, 0, 0)),  # no number that we would calculate with
    ],
)
def test_a_version_is_compared_by_its_numbers(version: str, key: tuple[int, int, int]) -> None:
    assert version_key(version) == key


@pytest.mark.parametrize(
    ("version", "keeps"),
    [("0.12.5", False), ("0.12.6", True), ("0.13.0", True), ("1.0.0", True), ("dev", None)],
)
def test_a_prompt_is_kept_whole_since_0_12_6(version: str, keeps: bool | None) -> None:
    assert keeps_whole_prompt(version) is keeps


def test_the_context_is_told_since_0_10_0_and_holds_4096_tokens_since_0_6_7() -> None:
    assert (PS_CONTEXT_SINCE, CONTEXT_4096_SINCE) == ((0, 10, 0), (0, 6, 7))
