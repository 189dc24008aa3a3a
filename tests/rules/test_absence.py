"""What is said of a model that nobody has."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_admin.domain.servers import ServerRef
from ollama_admin.rules.absence import hint, not_listed
from ollama_admin.rules.likeness import LETTERS, NAMES, nearest, nearest_servers
from ollama_admin.rules.routing import Obstacle, Verdict
from tests.rules.rows import model, server

GPU = ServerRef(id=1, name="gpu", url="http://gpu")
SEE_ALL = (
    "see what there is: ollama-admin models; after a change on a server: ollama-admin discover"
)


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


INACTIVE = Verdict(server=server(1), models=(model(1),), obstacle=Obstacle.INACTIVE)
INACTIVE_TOO = Verdict(server=server(2), models=(model(2),), obstacle=Obstacle.INACTIVE)
INACTIVE_WITHOUT_IT = Verdict(server=server(3), obstacle=Obstacle.INACTIVE)
UNABLE = Verdict(server=server(4), obstacle=Obstacle.CAPABILITY)
# one that lists it, and may not answer for another reason: no inactive one has it
ON_V1 = Verdict(server=server(5), models=(model(5),), obstacle=Obstacle.OPTION)


@pytest.mark.parametrize(
    ("verdicts", "known", "told"),
    [
        ([INACTIVE], ["alpha:8b"], "inactive servers have it: s1"),
        ([INACTIVE, UNABLE, INACTIVE_TOO], [], "inactive servers have it: s1, s2"),
        ([INACTIVE_WITHOUT_IT, ON_V1], ["alpha:8b"], "nearest: alpha:8b"),
        (
            [INACTIVE_WITHOUT_IT, UNABLE],
            ["alpha:8b"],
            "it is there, without that capability: see ollama-admin models -o json",
        ),
        ([], ["alpha:8b", "zeta"], "nearest: alpha:8b"),
        ([], ["alpha:8b", "alpha:70b"], "nearest: alpha:8b, alpha:70b"),
        ([], ["zeta"], SEE_ALL),
        ([], [], "no models are known yet: run ollama-admin discover"),
    ],
    ids=[
        "an inactive server has it",
        "inactive servers that have it come before any other reason",
        "an inactive server without it, and an active one with it, are not named",
        "an active server has it without the capability",
        "a name that looks like it is known",
        "several names that look like it are known",
        "no name that is known looks like it",
        "no name is known",
    ],
)
def test_the_hint_tells_what_to_do_next(
    verdicts: list[Verdict], known: list[str], told: str
) -> None:
    assert hint("alpha", verdicts, known) == told


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        (["other", "llama-3.1-8b"], "it lists: llama-3.1-8b"),
        (["a", "b", "c", "d"], "it lists: a, b, c"),
        ([], "it lists no models"),
    ],
    ids=["the nearest name", "the first three, where none is near", "nothing"],
)
def test_a_server_that_does_not_list_a_model_is_told_with_what_it_lists(
    listed: list[str], told: str
) -> None:
    error = not_listed("llama-3.1", GPU, listed)
    assert error.message == "server gpu does not list model 'llama-3.1'"
    assert error.hint == told


def test_comparing_is_bounded_however_many_and_long_the_names_are() -> None:
    """87 s, when all names were compared letter by letter."""
    letters = "abcdefghij" * 19
    names = [letters[number % 97 :] + str(number) + letters[::-1] for number in range(10_000)]
    began = time.thread_time()
    assert len(nearest(letters, names)) <= 3
    assert time.thread_time() - began < 3


def test_a_long_name_is_compared_by_its_beginning() -> None:
    known = ["x" * 150 + "/y:latest", "a" * LETTERS + "b", "zzz"]
    assert nearest("a" * LETTERS + "c", known) == ["a" * LETTERS + "b"]


def test_so_many_names_are_looked_at_and_no_more() -> None:
    others = [f"{number:x}" for number in range(NAMES - 1)]
    assert "quarts" in nearest("quartz", [*others, "quarts"])
    assert "quarts" not in nearest("quartz", [*others, "other", "quarts"])
