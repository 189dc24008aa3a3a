"""The copy of a JSON body that is looked at: one model, read as every reader reads it."""

from typing import Any

import pytest

from ollama_admin.gateway.bodies import Look, decoded, look_at, read
from ollama_admin.gateway.refusals import Refused

JSON = "application/json"
DEEP = b'{"model":"a","x":' + b"[" * 100_000


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model":"alpha"}', "alpha"),
        (b' \r\n\t{"model" : "alpha"}\n', "alpha"),
        (b'{"mod\\u0065l":"alpha"}', "alpha"),
        (b'{"model":"\\u0441\\u0435\\u043c\\u044c \\ud83d\\ude00"}', "семь \U0001f600"),
        ('{"model":"семь"}'.encode(), "семь"),
        (b'{"model":"alpha","messages":[{"model":"x","Model":"z"}]}', "alpha"),
        (b'{"a":1,"a":2,"model":"alpha"}', "alpha"),
        (b'{"model":"alpha","models":1,"model_":2," model":3}', "alpha"),
        (b'{"model":" "}', " "),
        (b'{"model":"alpha","n":1e999,"x":NaN}', "alpha"),
    ],
)
@pytest.mark.parametrize("kind", [JSON, "text/plain", "", "application/x-www-form-urlencoded"])
def test_the_model_is_the_one_at_the_top(body: bytes, kind: str, model: str) -> None:
    assert look_at(body, kind).model == model


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the body is not a JSON object in UTF-8"),
        (b"null", "the body is not a JSON object in UTF-8"),
        (b'"model"', "the body is not a JSON object in UTF-8"),
        (b'[{"model":"alpha"}]', "the body is not a JSON object in UTF-8"),
        (b'{"model":"alpha"', "the body is not a JSON object in UTF-8"),
        (b'{"model":"alpha"}{}', "the body is not a JSON object in UTF-8"),
        (b"{'model':'alpha'}", "the body is not a JSON object in UTF-8"),
        (b'\xef\xbb\xbf{"model":"alpha"}', "the body is not a JSON object in UTF-8"),
        ('{"model":"alpha"}'.encode("utf-16"), "the body is not a JSON object in UTF-8"),
        (b'{"model":"\xff"}', "the body is not a JSON object in UTF-8"),
        (b'{"model":"al\npha"}', "the body is not a JSON object in UTF-8"),
        (DEEP, "the body is nested too deep"),
        (b"{}", "model is required"),
        (b'{"model":null}', "model is required"),
        (b'{"model":""}', "model is required"),
        (b'{"model":0}', "model in the body is not text"),
        (b'{"model":false}', "model in the body is not text"),
        (b'{"model":["alpha"]}', "model in the body is not text"),
    ],
)
def test_a_body_without_a_model_is_refused(body: bytes, says: str) -> None:
    with pytest.raises(Refused) as refused:
        look_at(body, JSON)
    assert (refused.value.status, refused.value.message) == (400, says)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"a"}',
        b'{"model":"a","mod\\u0065l":"b"}',
        b'{"model":"a","MODEL":"b"}',
        b'{"modeL":"a"}',
        b'{"model":"a","Model":null}',
        b'{"model":"a","x":{"model":"a","model":"b"}}',
    ],
)
def test_a_model_that_another_reader_takes_from_elsewhere_is_refused(body: bytes) -> None:
    with pytest.raises(Refused, match="names its model twice, or in another case"):
        read(body)


@pytest.mark.parametrize(
    ("name", "value", "is_one"),
    [
        ("server", "gpu", True),
        ("server", 3, True),
        ("server", None, True),
        ("server", True, False),
        ("server", 3.0, False),
        ("server", "", False),
        ("server", ["gpu"], False),
        ("server_url", "http://x", True),
        ("server_url", 3, False),
        ("digest", "sha256:0", True),
        ("digest", {}, False),
    ],
)
def test_our_own_fields_are_names(name: str, value: Any, is_one: bool) -> None:
    look = Look("alpha", {name: value})
    if is_one:
        assert look.ours(name) == value
        return
    with pytest.raises(Refused, match=f"{name} of the body is not a name"):
        look.ours(name)


@pytest.mark.parametrize(
    ("encoding", "status"),
    [("br", 415), ("gzip, zstd", 415), ("GZIP", 400), ("deflate", 400), (" zstd ", 400)],
)
def test_what_is_not_compressed_as_it_says_is_refused(encoding: str, status: int) -> None:
    with pytest.raises(Refused) as refused:
        decoded(b"{}", encoding)
    assert refused.value.status == status


@pytest.mark.parametrize("encoding", ["identity", " Identity ", ""])
def test_a_body_that_is_as_it_is_stays_so(encoding: str) -> None:
    assert decoded(b"\x1f\x8b", encoding) == b"\x1f\x8b"
