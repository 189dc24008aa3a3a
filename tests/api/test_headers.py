"""Headers of whatever bytes: refused or ignored, and never a failure of ours."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.service import Service, answer_of, request

NAMES = (
    "Host",
    "Origin",
    "Authorization",
    "Content-Type",
    "Content-Length",
    "Content-Encoding",
    "Transfer-Encoding",
    "Connection",
    "Upgrade",
    "Expect",
    "If-Match",
    "Accept",
    "Cookie",
    "Range",
    "X-Forwarded-Host",
)
# what means something to a parser of some header, beside bytes of all kinds
PIECES = (
    *("http://", "[", "]", "[::1]", ":", "//", "@", "?", "#", "%", "%zz", "127.0.0.1", "localhost"),
    *(
        ",",
        ";",
        "=",
        '"',
        "'",
        "\\",
        "*",
        'W/"',
        "charset",
        "application/json",
        "Bearer ",
        "Basic ",
    ),
    *("-1", "0", "9" * 30, "1e9", "0x10", "chunked", "gzip", "close", "h2c", "100-continue", "\t"),
)
NO_URLS = ("http://[", "http://[::1", "//[x]", "http://\u2100", "http://][")
VALUES = st.one_of(
    st.sampled_from(NO_URLS).map(str.encode),
    st.lists(st.sampled_from(PIECES), max_size=6).map(lambda pieces: "".join(pieces).encode()),
    st.binary(max_size=30),
    st.text(max_size=10).map(str.encode),
)
HEADERS = st.lists(st.tuples(st.sampled_from(NAMES), VALUES), min_size=1, max_size=4)
ROUTES = st.sampled_from(
    [
        ("GET", "/healthz"),
        ("GET", "/api/servers"),
        ("PATCH", "/api/servers/1"),
        ("POST", "/api/chat"),
    ]
)


@pytest.mark.parametrize("origin", NO_URLS)
@pytest.mark.parametrize("path", ["/healthz", "/api/servers"])
def test_an_origin_that_is_no_url_is_refused(shared_api: Service, path: str, origin: str) -> None:
    """Without a token too: it was a bug of ours to whoever asked."""
    status, _, document = answer_of(
        shared_api.raw(request("GET", path, Authorization="", Origin=origin))
    )
    assert (status, document["error"]["code"]) in ((400, "bad_request"), (403, "host_not_allowed"))


@given(route=ROUTES, headers=HEADERS, authorized=st.booleans())
@settings(deadline=None, max_examples=300)
def test_no_header_makes_a_failure_of_ours(
    shared_api: Service, route: tuple[str, str], headers: list[tuple[str, bytes]], authorized: bool
) -> None:
    method, path = route
    own = {} if authorized else {"Authorization": ""}
    first, rest = request(method, path, **own).split(b"\r\n", 1)
    odd = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in headers)
    logged = len(shared_api.logged)
    with shared_api.connect() as connection, suppress(ConnectionError, TimeoutError):
        connection.sendall(first + b"\r\n" + odd + rest)
        connection.settimeout(0.5)
        answer = connection.recv(65536)
        assert not answer or 100 <= int(answer.split()[1]) < 500 or answer.split()[1] == b"501"
    assert not [line for line in shared_api.logged[logged:] if " 500 " in line]
