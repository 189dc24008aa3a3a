"""Where a path leads: prefixes, dialects, and what is nobody's."""

import pytest

from ollama_admin.domain.relayed import Dialect
from ollama_admin.gateway.paths import Kind, placed

OLLAMA, OPENAI, ANTHROPIC = Dialect.OLLAMA, Dialect.OPENAI, Dialect.ANTHROPIC


@pytest.mark.parametrize(
    ("raw", "key", "server", "path"),
    [
        (b"/api/chat", None, None, "/api/chat"),
        (b"/k/one/api/chat", "one", None, "/api/chat"),
        (b"/servers/gpu/api/chat", None, "gpu", "/api/chat"),
        (b"/k/one/servers/gpu/v1/models", "one", "gpu", "/v1/models"),
        (b"/k/a%2Fb/", "a/b", None, "/"),
        (b"/k/one", "one", None, "/"),
        (b"/servers/one", None, "one", "/"),
        (b"/k/", "", None, "/"),
        (b"/servers/a%20b%2Fc/api/tags", None, "a b/c", "/api/tags"),
        (b"/servers/%D0%B6/api/tags", None, "ж", "/api/tags"),
        (b"/servers/one/servers/two/api/chat", None, "one", "/servers/two/api/chat"),
        (b"/k/one/k/two/api/chat", "one", None, "/k/two/api/chat"),
        (b"/servers/one/k/two/api/chat", None, "one", "/k/two/api/chat"),
        (b"/k/one/api/servers", "one", None, "/api/servers"),
    ],
)
def test_prefixes_are_cut_off_once_and_in_their_order(
    raw: bytes, key: str | None, server: str | None, path: str
) -> None:
    place = placed(raw)
    assert place is not None
    assert (place.key, place.server, place.path) == (key, server, path)


@pytest.mark.parametrize(
    "raw",
    [
        b"/k/one/k/two/api/chat",
        b"/servers/one/servers/two/api/chat",
        b"/servers/one/k/two/api/chat",
        b"/k/one/api/servers",
        b"/servers/one/api/receipts",
        b"/v1/nothing",
        b"/v1/chat/completions/",
        b"/v1/Chat/completions",
        b"/v1/messages/batches",
    ],
)
def test_a_path_of_the_gateways_that_nobody_serves_takes_no_method(raw: bytes) -> None:
    place = placed(raw)
    assert place is not None
    assert place.methods == {}


@pytest.mark.parametrize(
    "raw",
    [
        *(b"/api/servers", b"/api/chat/", b"//api/chat", b"/API/chat", b"/api%2Fchat", b"/docs"),
        *(b"/healthz", b"/kone/api/chat", b"/v1", b"/api/blobs", b"/api/user/keys", b""),
    ],
)
def test_other_paths_are_not_the_gateways(raw: bytes) -> None:
    assert placed(raw) is None


@pytest.mark.parametrize(
    ("raw", "dialect"),
    [
        (b"/api/generate", OLLAMA),
        (b"/api/nothing/../chat", None),
        (b"/v1/chat/completions", OPENAI),
        (b"/v1/nothing", OPENAI),
        (b"/v1/models/a", OPENAI),
        (b"/v1/messages", ANTHROPIC),
        (b"/v1/messages/count_tokens", ANTHROPIC),
        (b"/v1/messages/batches", ANTHROPIC),
        (b"/k/a/v1/messages", ANTHROPIC),
        (b"/servers/a/nothing", OLLAMA),
    ],
)
def test_the_dialect_is_that_of_the_path(raw: bytes, dialect: Dialect | None) -> None:
    place = placed(raw)
    assert (place and place.dialect) == dialect


@pytest.mark.parametrize(
    ("raw", "model"),
    [
        (b"/v1/models/alpha:7b", "alpha:7b"),
        (b"/v1/models/hf.co%2Fa%2Fb:q", "hf.co/a/b:q"),
        (b"/v1/models/hf.co/a/b:q", "hf.co/a/b:q"),
        (b"/v1/models/a%252Fb", "a%2Fb"),
        (b"/v1/models/", ""),
        (b"/v1/models", None),
    ],
)
def test_the_id_of_a_model_may_hold_slashes(raw: bytes, model: str | None) -> None:
    place = placed(raw)
    assert place is not None
    assert place.model == model
    assert place.methods == {"GET": Kind.MODELS, "HEAD": Kind.MODELS}


@pytest.mark.parametrize(
    ("raw", "is_open"),
    [
        (b"/", True),
        (b"/api/version", True),
        (b"/k/wrong/", True),
        (b"/servers/one/api/version", False),
        (b"/servers/one/", False),
        (b"/api/tags", False),
        (b"/v1/nothing", False),
    ],
)
def test_only_what_tells_nothing_of_a_server_is_open(raw: bytes, is_open: bool) -> None:
    place = placed(raw)
    assert place is not None
    assert place.is_open is is_open


def test_a_key_in_a_path_is_not_in_what_is_printed_of_it() -> None:
    assert "canary" not in repr(placed(b"/k/canary/api/chat"))
