"""Forms: the model that is looked at is the one that a server reads, or the form is refused."""

import tracemalloc
from collections.abc import Callable

import httpx
import pytest

from ollama_admin.gateway.bodies import HEAD_LIMIT, PARTS_LIMIT, look_at
from ollama_admin.gateway.refusals import Refused
from tests.api.conftest import Serve, register
from tests.api.service import Service, answer_of, request
from tests.gateway.upstream import sent_to

TYPE = "multipart/form-data; boundary=b"
MODEL = b'Content-Disposition: form-data; name="model"\r\n\r\nalpha\r\n'
OTHER = MODEL.replace(b"alpha", b"other")
END = b"--b--\r\n"
MB = 2**20


def form(*parts: bytes) -> bytes:
    return b"".join(b"--b\r\n" + part for part in parts) + END


@pytest.mark.parametrize("name", ["a.wav", 'quo"ted.wav', "семь.wav", "back\\slash.wav"])
def test_the_form_of_a_client_names_its_model(name: str) -> None:
    request = httpx.Request(
        "POST", "http://x", data={"model": "alpha"}, files={"file": (name, b"RIFF\r\n\r\n--")}
    )
    assert look_at(request.read(), request.headers["content-type"]).model == "alpha"


@pytest.mark.parametrize(
    "kind",
    [
        'multipart/form-data; boundary="b"',
        "Multipart/Form-Data;boundary=b",
        "multipart/form-data; charset=utf-8; boundary=b",
        "multipart/form-data; boundary=b; charset=UTF-8",
    ],
)
def test_a_boundary_may_be_spelt_in_several_ways(kind: str) -> None:
    assert look_at(form(MODEL), kind).model == "alpha"


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data; xboundary=b; boundary=c",
        'multipart/form-data; x="; boundary=b"; boundary=c',
        "multipart/form-data; boundary=b; boundary=c",
        "multipart/form-data; boundary*0=b; boundary=c",
        "multipart/mixed; boundary=b",
        "multipart/form-data",
    ],
)
def test_a_boundary_that_another_reader_finds_elsewhere_is_refused(kind: str) -> None:
    with pytest.raises(Refused):
        look_at(form(MODEL), kind)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"other"}\r\n' + form(MODEL),
        form(MODEL) + b'{"model":"other"}',
        form(OTHER.replace(b'"model"', b"model"), MODEL),
        form(OTHER.replace(b'"model"', b'"mo\\del"'), MODEL),
        form(OTHER.replace(b'"model"', b'"x"; name="model"'), MODEL),
        form(OTHER.replace(b'name="model"', b"name*=utf-8''model"), MODEL),
        form(OTHER.replace(b'name="model"', b'name*0="mo"; name*1="del"'), MODEL),
        form(OTHER.replace(b"; name", b";\r\n name"), MODEL),
        form(b"Content-Disposition: attachment\r\n" + OTHER, MODEL),
        form(b"X-More: " + b"x" * HEAD_LIMIT + b"\r\n" + OTHER, MODEL),
        form(OTHER.replace(b"\r\n", b"\n"), MODEL),
        form(OTHER).replace(b"\r\n", b"\n").replace(b"other", b"other\n--bQ\r\n" + MODEL),
        form(OTHER, MODEL),
        form(),
        b"",
        b"--b\r\n" + MODEL,
    ],
)
def test_a_form_that_can_be_read_in_two_ways_is_refused(body: bytes) -> None:
    with pytest.raises(Refused):
        look_at(body, TYPE)


@pytest.mark.parametrize(
    "body",
    [
        lambda: b"--b12" * (4 * MB),
        lambda: form(*[MODEL.replace(b"model", b"x")] * (PARTS_LIMIT + 1)),
        lambda: form(b'Content-Disposition: form-data; name="file"\r\n\r\n' + bytes(20 * MB)),
    ],
    ids=["many marks", "many parts", "a long part"],
)
def test_to_look_at_a_form_takes_no_memory(body: Callable[[], bytes]) -> None:
    given = body()
    tracemalloc.start()
    try:
        with pytest.raises(Refused):
            look_at(given, TYPE)
        assert tracemalloc.get_traced_memory()[1] < MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/embeddings"])
def test_a_request_with_two_types_of_content_reaches_no_server(
    sqlite_api: Service, fakes: Serve, path: str
) -> None:
    fake = fakes("alpha")
    register(sqlite_api, fake)
    kinds = f"multipart/form-data; boundary=c\r\nContent-Type: {TYPE}"
    raw = sqlite_api.raw(request("POST", path, form(MODEL), Content_Type=kinds))
    assert answer_of(raw)[0] == 400
    assert sent_to(fake, path) == []
