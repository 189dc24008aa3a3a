"""What is accepted of a server's vectors, and the numbers of the whole."""

from dataclasses import replace

import pytest

from ollama_admin.domain.answers import Stats, VectorRecord
from ollama_admin.domain.servers import ServerRef
from ollama_admin.errors import AdminError, ModelMismatch, UpstreamError
from ollama_admin.rules.vectors import VectorAnswer

ONE = VectorRecord(model="alpha:latest", embeddings=((0.5, 1.0),))


def answer(*, allow_remote: bool = False) -> VectorAnswer:
    return VectorAnswer(
        server=ServerRef(id=1, name="gpu", url="http://gpu"),
        model="alpha",
        accepted=frozenset(("alpha:latest",)),
        allow_remote=allow_remote,
        started=100.0,
    )


def test_parts_are_one_answer_with_the_first_load_and_all_tokens() -> None:
    whole = answer()
    assert not whole.is_begun  # nothing is handed on
    assert not whole.is_estimated  # the server tells its tokens
    assert whole.stats(100.5) == Stats(total_ms=500)
    whole.take(ONE, 1)
    assert (whole.prompt_tokens, whole.load_duration) == (None, None)
    whole.take(replace(ONE, load_duration=7_000_000, prompt_tokens=2), 1)
    whole.take(replace(ONE, load_duration=9_000_000, prompt_tokens=3), 1)
    assert whole.embeddings == [(0.5, 1.0)] * 3
    assert whole.stats(102.5) == Stats(total_ms=2500, load_ms=7, prompt_tokens=5)
    assert not whole.is_begun


def test_one_part_from_a_remote_host_makes_all_remote() -> None:
    whole = answer(allow_remote=True)
    for is_remote in (False, True, False):
        whole.take(replace(ONE, is_remote=is_remote), 1)
    assert whole.is_remote
    local = answer(allow_remote=True)
    local.take(ONE, 1)
    assert not local.is_remote


@pytest.mark.parametrize(
    ("record", "error", "says"),
    [
        (replace(ONE, model=None), ModelMismatch, "does not say which model answers"),
        (replace(ONE, model="beta"), ModelMismatch, "answered as 'beta', not as 'alpha'"),
        (replace(ONE, is_remote=True), ModelMismatch, "to a remote host, which was not allowed"),
        (replace(ONE, embeddings=()), UpstreamError, "sent 0 vectors for 1 texts"),
        (replace(ONE, embeddings=((1.0,),)), UpstreamError, "vectors of 1 and of 2 numbers"),
    ],
)
def test_what_is_no_vector_of_that_model_is_refused(
    record: VectorRecord, error: type[AdminError], says: str
) -> None:
    whole = answer()
    whole.take(ONE, 1)
    with pytest.raises(error, match=says):
        whole.take(record, 1)
