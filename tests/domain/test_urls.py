"""Two spellings of one server's URL are equal after reading, and nothing else is accepted."""

import string

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ollama_admin.domain.urls import origin, server_url, split_userinfo
from ollama_admin.errors import InvalidInput

SAME = "http://10.39.0.101:11434"


@pytest.mark.parametrize(
    "spelling",
    [
        "10.39.0.101",
        "10.39.0.101:11434",
        "10.39.0.101:11434/",
        "10.39.0.101/v1",
        "http://10.39.0.101:11434",
        "http://10.39.0.101:11434/",
        "http://10.39.0.101:11434///",
        "http://10.39.0.101:11434/v1",
        "http://10.39.0.101:11434/v1/",
        "http://10.39.0.101:11434/api",
        "HTTP://10.39.0.101:11434/api/",
        "http://10.39.0.101:011434",
        "  http://10.39.0.101:11434\n",
    ],
)
def test_spellings_of_one_server_are_one_url(spelling: str) -> None:
    assert server_url(spelling).url == SAME


@pytest.mark.parametrize(
    ("text", "url", "tail"),
    [
        ("localhost", "http://localhost:11434", ""),
        ("gpu_box.example.com:8080", "http://gpu_box.example.com:8080", ""),
        ("http://host", "http://host", ""),
        ("http://host:80", "http://host", ""),
        ("host:80", "http://host", ""),
        ("https://HOST:443/", "https://host", ""),
        ("https://host:80", "https://host:80", ""),
        ("http://host/Prefix/v1", "http://host/Prefix", "v1"),
        ("http://host/ollama/api", "http://host/ollama", "api"),
        ("http://host/api/v1", "http://host/api", "v1"),
        ("http://host/V1", "http://host/V1", ""),
        ("http://host/v1beta", "http://host/v1beta", ""),
        ("[::1]", "http://[::1]:11434", ""),
        ("[::1]:80", "http://[::1]", ""),
        ("https://[2001:DB8:0:0::5]:8443/v1", "https://[2001:db8::5]:8443", "v1"),
        ("xn--bcher-kva.example", "http://xn--bcher-kva.example:11434", ""),
        ("10-39-0-101", "http://10-39-0-101:11434", ""),
    ],
)
def test_a_url_is_normalised_and_its_tail_noted(text: str, url: str, tail: str) -> None:
    read = server_url(text)
    assert (read.url, read.v1, read.api) == (url, tail == "v1", tail == "api")


@pytest.mark.parametrize(
    "tail",
    [
        *("/api/generate", "/api/chat", "/api/tags/", "/api/embed", "/api/blobs/sha256:ab"),
        *("/api/embeddings", "/api/user/keys/k", "/api/experimental/web_search"),
        *("/v1/chat/completions", "/v1/models", "/v1/models/qwen3:8b", "/v1/audio/transcriptions"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/ollama", "/v2/models"])
def test_the_path_of_one_call_is_no_part_of_a_server(prefix: str, tail: str) -> None:
    read = server_url(f"https://gw.example.com{prefix}{tail}")
    assert (read.url, read.endpoint) == (f"https://gw.example.com{prefix}", tail.rstrip("/"))
    assert read.v1 is tail.startswith("/v1")
    assert read.note == f"{read.endpoint} is the path of one call: the server is {read.url}"


@pytest.mark.parametrize("path", ["/api/generates", "/api/blobs", "/v1/other", "/generate", "/v1"])
def test_other_paths_are_no_call(path: str) -> None:
    assert server_url(f"http://host{path}").note is None


def test_port_443_without_a_scheme_is_https() -> None:
    assert server_url("host:443").url == "https://host"
    assert server_url("http://host:443").url == "http://host:443"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("ftp://host", "scheme"),
        ("//host", "not a name or an address"),
        ("://host", "scheme"),
        ("http://", "not a name or an address"),
        ("http:///v1", "not a name or an address"),
        ("host:", "port"),
        ("host:0", "port"),
        ("host:99999", "cannot be read"),
        ("host:port", "cannot be read"),
        ("host:8_0", "cannot be read"),
        ("host:+80", "cannot be read"),
        ("http://host?x=1", "query or a fragment"),
        ("http://host?", "query or a fragment"),
        ("http://host/#", "query or a fragment"),
        ("http://host/a//b", "empty, '.' or '..'"),
        ("http://host/../v1", "empty, '.' or '..'"),
        ("http://host/./x", "empty, '.' or '..'"),
        ("http://host/v1/api", "two API paths"),
        ("http://host/api/api", "two API paths"),
        ("http://host/api/tags/api/tags", "two API paths"),
        ("http://host/v1/api/tags", "two API paths"),
        ("http://ho st", "space"),
        ("http:\\\\host", "backslash"),
        ("http://host\x00", "control"),
        ("http://host\x7f/x", "control"),
        ("http://h\tost", "control"),
        ("http://bücher.example", "not ASCII"),
        ("http://10.39.0.\uff11", "not ASCII"),
        ("http://host.", "not a name or an address"),
        ("http://.host", "not a name or an address"),
        ("http://a..b", "not a name or an address"),
        ("http://-host", "not a name or an address"),
        ("http://host-", "not a name or an address"),
        ("http://ho$t", "not a name or an address"),
        (f"http://{'a' * 64}", "not a name or an address"),
        (f"http://{'.'.join(['a' * 60] * 5)}", "not a name or an address"),
        (f"http://host/{'a' * 2000}", "longer than 2000"),
        ("http://127.1", "not a full IPv4 address"),
        ("http://0x7f.1", "not a full IPv4 address"),
        ("http://2130706433", "not a full IPv4 address"),
        ("http://0x7f000001", "not a full IPv4 address"),
        ("http://127.0.0.0x1", "not a full IPv4 address"),
        ("http://127.0.0.256", "not a full IPv4 address"),
        ("http://127.0.0.01", "not a full IPv4 address"),
        ("http://1.2.3.4.5", "not a full IPv4 address"),
        ("0.0.0.0", "to listen on"),
        ("http://[::]:11434", "to listen on"),
        ("::1", "in brackets"),
        ("http://fe80::1", "in brackets"),
        ("http://[::1", "cannot be read"),
        ("http://[::1]x", "something follows"),
        ("http://[::1].example.com:80", "something follows"),
        ("http://[::1%25eth0]", "zone"),
        ("http://[::ffff:127.0.0.1]", "IPv4 address in IPv6 form"),
        ("http://[v1.x]", "not an IPv6 address"),
        ("http://[host]", "cannot be read"),
        ("http://x[::1]", "in brackets"),
    ],
)
def test_what_is_no_server_url_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        server_url(text)
    assert reason in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "http://user:hun7er@host",
        "http://hun7er@host",
        "user:hun7er@host:11434",
        "http://user:hun7er@@host",
        "http://user:hun7/er@host",
        "http://host?token=hun7er",
        "http://host#hun7er",
        "http://ho st/?key=hun7er",
        "http:/user:hun7er@host",
        "http://user:hun7er\\@host",
    ],
)
def test_a_refused_url_never_shows_what_may_be_a_secret(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        server_url(text)
    assert "hun7" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("text", "url", "username", "password"),
    [
        ("http://u:p@host/v1", "http://host/v1", "u", "p"),
        ("u@host:1", "host:1", "u", ""),
        ("https://u%40corp:p%3A%2f@host", "https://host", "u@corp", "p:/"),
        ("http://u:p@q@host", "http://host", "u", "p@q"),
    ],
)
def test_a_user_and_a_password_can_be_taken_out(
    text: str, url: str, username: str, password: str
) -> None:
    rest, found = split_userinfo(text)
    assert found is not None
    assert (rest, found.username, found.password) == (url, username, password)


def test_a_url_without_a_user_is_left_as_it_is() -> None:
    assert split_userinfo(" http://host/a@b ") == ("http://host/a@b", None)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://host", "http://host:80"),
        ("https://host/prefix", "https://host:443"),
        ("http://host:11434", "http://host:11434"),
        ("https://[::1]:8443/x", "https://[::1]:8443"),
    ],
)
def test_an_origin_names_its_port(url: str, expected: str) -> None:
    assert origin(url) == expected


# Pieces that URLs are made of, so that many of the texts put together from them are accepted.
PIECES = st.sampled_from(
    [
        *(
            "http://",
            "https://",
            "HTTP://",
            "://",
            "//",
            "/",
            "host",
            "a.b",
            "10.0.0.1",
            "127.1",
            "[::1]",
            "[fe80::2]",
        ),
        *(
            ":",
            ":80",
            ":443",
            ":11434",
            ":0",
            "/v1",
            "/api",
            "/V1",
            "/x",
            "..",
            ".",
            "-",
            "_",
            "%2e",
            "%00",
            "@",
            "?",
        ),
        *(
            "#",
            "\\",
            " ",
            "[",
            "]",
            "0x7f",
            "xn--a",
            ";",
            "'",
            '"',
            "<",
            "~",
            "{",
            "|",
            "^",
            "`",
            "é",
        ),
    ]
)


@given(
    st.one_of(
        st.lists(PIECES, max_size=8).map("".join), st.text(string.printable, max_size=30), st.text()
    )
)
@example("http://h/v1/v1")
@example("http://[::1]x:80")
def test_an_accepted_url_reads_the_same_again_and_can_be_asked(text: str) -> None:
    try:
        read = server_url(text)
    except InvalidInput:
        return
    assert server_url(str(read)).url == read.url
    assert server_url(str(read)).v1 == read.v1
    asked = httpx.URL(f"{read.url}/api/tags")
    assert asked.scheme in ("http", "https")
    assert (asked.userinfo, asked.query, asked.fragment) == (b"", b"", "")
    assert asked.path.endswith("/api/tags")
    assert str(asked).startswith(origin(read.url).rpartition(":")[0])
