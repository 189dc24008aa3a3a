"""Pages that may ask, and what browsers are told of it."""

import pytest

from ollama_admin.gateway.cors import Origins, preflight
from ollama_admin.gateway.refusals import Refused

HOST = "gateway.test:8080"


@pytest.mark.parametrize(
    "origin",
    [
        "http://gateway.test:8080",
        "https://GATEWAY.test:8080",
        "http://localhost:1",
        "HTTPS://LOCALHOST",
        "http://0.0.0.0:3000",
        "http://[::1]",
        "app://anything",
        "vscode-file://vscode-app",
        "https://allowed.example",
        "https://Allowed.example/",
    ],
)
def test_own_pages_and_those_that_were_allowed_may_ask(origin: str) -> None:
    headers = Origins(["https://allowed.example/"]).headers(origin, HOST)
    assert dict(headers) == {
        b"access-control-allow-origin": origin.encode(),
        b"access-control-expose-headers": (
            b"X-Request-Id, X-Ollama-Admin-Server, X-Ollama-Admin-Digest"
        ),
        b"vary": b"Origin",
    }


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://gateway.test", 403),
        ("http://gateway.test:8081", 403),
        ("https://allowed.example:444", 403),
        ("http://allowed.example", 403),
        ("https://sub.allowed.example", 403),
        ("https://localhost.example", 403),
        ("https://127.0.0.1.example", 403),
        ("https://localhost@evil.example", 403),
        ("ftp://localhost", 403),
        ("apps://x", 403),
        ("", 403),
        ("*", 403),
        ("null", 403),
        ("http://[::1", 400),
    ],
)
def test_foreign_pages_are_refused(origin: str, status: int) -> None:
    with pytest.raises(Refused) as refused:
        Origins(["https://allowed.example"]).headers(origin, HOST)
    assert refused.value.status == status


@pytest.mark.parametrize("origin", ["null", "https://evil.example", "http://[::1"])
def test_an_asterisk_allows_every_page(origin: str) -> None:
    assert dict(Origins(["*"]).headers(origin, HOST))[b"access-control-allow-origin"] == (
        origin.encode()
    )


@pytest.mark.parametrize(
    ("asked", "more"),
    [
        ("", []),
        ("x-stainless-lang", ["x-stainless-lang"]),
        (
            " X-Stainless-OS ,x-stainless-runtime-version",
            ["x-stainless-os", "x-stainless-runtime-version"],
        ),
        ("x-stainless-", []),
        ("x-stainless-" + "a" * 41, []),
        ("x-stainless-a\r\nx-evil: 1", []),
        ("x-evil, *", []),
    ],
)
def test_a_preflight_allows_what_clients_send_and_nothing_else(asked: str, more: list[str]) -> None:
    headers = dict(preflight(asked))
    allowed = headers[b"access-control-allow-headers"].decode().split(", ")
    assert allowed[10:] == more
    assert {"authorization", "content-type", "x-api-key", "anthropic-version"} <= set(allowed[:10])
    assert headers[b"access-control-allow-methods"] == b"GET, HEAD, POST, DELETE"
    assert headers[b"access-control-max-age"] == b"43200"
