"""Requests that are none, or that cannot be served: one answer each, in the dialect of the path,
and nothing of them reaches a server.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from ollama_admin.gateway.limits import Limits
from tests.api.conftest import Serve, register
from tests.api.service import Service, answer_of, request
from tests.gateway.answers import MODEL, SAMPLES, STREAMS, compact
from tests.gateway.test_bad_servers import message_of
from tests.gateway.upstream import RELAYED, chunked, pieces, script, sent_to

V1 = [path for path in RELAYED if path.startswith("/v1/")]
OLLAMA = [path for path in RELAYED if path.startswith("/api/")]
TRANSCRIPTIONS = "/v1/audio/transcriptions"
QUICK = Limits(body_idle=0.1)
FORM = "multipart/form-data; boundary=b"
FILE = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n--b--\r\n'
)
BOMB = zstandard.ZstdCompressor().compress(b'{"model":"alpha","x":"' + b"0" * 2**26)


def body_for(path: str, **more: object) -> bytes:
    return compact({"model": MODEL, **RELAYED.get(path, {}), **more})


def refused(raw: bytes, path: str) -> int:
    """The status of an answer, whose document is an error in the dialect of the path."""
    status, headers, document = answer_of(raw)
    assert headers["content-type"].startswith("application/json")
    assert message_of(path, document)
    assert raw.count(b"HTTP/1.1 ") == 1
    return status


@pytest.fixture(scope="module")
def quick_api(
    migrated_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """One that waits for nobody; it has no servers."""
    copy = shutil.copy(migrated_sqlite_file, tmp_path_factory.mktemp("quick") / "one.db")
    with Service(f"sqlite:///{copy}", limits=QUICK) as service:
        yield service


@pytest.mark.parametrize("path", [*RELAYED, TRANSCRIPTIONS])
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_another_method_is_405_and_told_which_ones_there_are(
    shared_api: Service, path: str, method: str
) -> None:
    raw = shared_api.raw(request(method, path))
    assert refused(raw, path) == 405
    assert answer_of(raw)[1]["allow"] == "post, options"


@pytest.mark.parametrize("path", [*RELAYED, "/v1/nothing", "/api/me"])
def test_head_has_the_head_of_the_refusal_and_no_body(shared_api: Service, path: str) -> None:
    head, _, body = shared_api.raw(request("HEAD", path)).partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert (status, body) == (404 if path in ("/v1/nothing", "/api/me") else 405, b"")
    assert int(
        dict(line.split(b": ") for line in head.lower().split(b"\r\n")[1:])[b"content-length"]
    )


@pytest.mark.parametrize("path", [*RELAYED, "/api/tags", "/v1/models"])
def test_a_websocket_is_spoken_nowhere(shared_api: Service, path: str) -> None:
    upgrade = {"Upgrade": "websocket", "Sec_WebSocket_Key": "x", "Sec_WebSocket_Version": "13"}
    data = request("GET", path, **upgrade).replace(b"Connection: close", b"Connection: Upgrade")
    with shared_api.connect() as connection:
        connection.sendall(data)
        status = int(connection.recv(100).split()[1])
    expected = {"/v1/responses": 426, "/api/tags": 200, "/v1/models": 200}
    assert status == expected.get(path, 405)


@pytest.mark.parametrize("path", RELAYED)
def test_a_head_of_two_meanings_reaches_no_server(
    sqlite_api: Service, fakes: Serve, path: str
) -> None:
    fake = fakes(MODEL)
    register(sqlite_api, fake)
    body = body_for(path)
    for data, status in (
        (request("POST", path, body, Transfer_Encoding="chunked"), 400),
        (request("POST", path, body, X_A="b\r\n c"), 400),
        (request("POST", f"{path}?{'x' * 100_000}", body), 431),
        (request("POST", path, body, X_A="x" * 100_000), 431),
        (request("POST", path, body).replace(b"\r\n\r\n", b"\r\nContent-Type: a/b\r\n\r\n"), 400),
    ):
        assert answer_of(sqlite_api.raw(data))[0] == status
    assert sent_to(fake, path) == []


@pytest.mark.parametrize("path", [*RELAYED, TRANSCRIPTIONS])
def test_a_body_that_does_not_come_to_its_end_is_408(quick_api: Service, path: str) -> None:
    body = body_for(path)
    raw = quick_api.raw(request("POST", path, body[:-1], Content_Length=str(len(body))))
    assert refused(raw, path) == 408
    assert answer_of(raw)[1]["connection"] == "close"


@pytest.mark.parametrize("path", [*RELAYED, TRANSCRIPTIONS])
def test_a_body_that_is_too_long_is_413(shared_api: Service, path: str) -> None:
    raw = shared_api.raw(request("POST", path, b"{", Content_Length=str(2**30)))
    assert refused(raw, path) == 413


@pytest.mark.parametrize("path", RELAYED)
def test_a_body_that_is_cut_off_reaches_no_server(
    sqlite_api: Service, fakes: Serve, path: str
) -> None:
    fake = fakes(MODEL)
    register(sqlite_api, fake)
    body = body_for(path)
    with sqlite_api.connect() as connection:
        connection.sendall(request("POST", path, body, Content_Length=str(len(body) + 1)))
        connection.shutdown(1)
        while connection.recv(65536):
            pass
    assert sqlite_api.ask("GET", "/api/tags").status_code == 200
    assert sent_to(fake, path) == []


@pytest.mark.parametrize("path", RELAYED)
def test_a_body_that_unpacks_without_end_is_refused(shared_api: Service, path: str) -> None:
    raw = shared_api.raw(request("POST", path, BOMB, Content_Encoding="zstd"))
    assert refused(raw, path) == (413 if path in V1 else 415)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (FORM, FILE),
        (FORM, FILE.replace(b'"file"', b'"Model"')),
        (FORM, b""),
        ("multipart/form-data", FILE),
        ("application/json", b'{"file":"x"}'),
    ],
)
def test_a_form_without_a_model_is_400(shared_api: Service, kind: str, body: bytes) -> None:
    raw = shared_api.raw(request("POST", TRANSCRIPTIONS, body, Content_Type=kind))
    assert refused(raw, TRANSCRIPTIONS) == 400


@pytest.mark.parametrize("name", STREAMS)
def test_http_1_0_is_sent_a_stream_without_chunks_until_the_connection_ends(
    sqlite_api: Service, fakes: Serve, name: str
) -> None:
    sample, fake = SAMPLES[name], fakes(MODEL)
    register(sqlite_api, fake)
    script(fake, sample.path, pieces(chunked(sample.body, sample.content_type, 50), 100, 200))
    data = request("POST", sample.path, body_for(sample.path, stream=True))
    head, _, body = sqlite_api.raw(data.replace(b"HTTP/1.1", b"HTTP/1.0")).partition(b"\r\n\r\n")
    assert head.split()[1] == b"200"
    assert b"transfer-encoding" not in head.lower()
    assert body == sample.body
