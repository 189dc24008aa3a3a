"""Which headers pass, in both directions."""

import pytest

from ollama_admin.gateway.headers import of_notes, of_server, to_client, to_server

FORWARDED = (
    (b"accept", b"*/*"),
    (b"content-type", b"multipart/form-data; boundary=b"),
    (b"content-encoding", b"zstd"),
    (b"user-agent", b"x"),
    (b"traceparent", b"00-0"),
    (b"anthropic-beta", b"a"),
    (b"anthropic-beta", b"b"),
    (b"openai-organization", b"o"),
    (b"x-stainless-lang", b"js"),
)
KEPT = (
    *(b"authorization", b"x-api-key", b"cookie", b"proxy-authorization", b"referer", b"origin"),
    *(b"host", b"content-length", b"transfer-encoding", b"connection", b"te", b"upgrade"),
    *(b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via", b"expect", b"accept-encoding"),
    *(b"x-ollama-admin-server", b"x-request-id", b"x-openai", b"anthropic", b"range"),
)


def test_a_server_is_told_what_clients_say_to_a_model_and_nothing_of_who_they_are() -> None:
    given = [*FORWARDED, *((name, b"canary") for name in KEPT)]
    assert to_server(given) == FORWARDED


@pytest.mark.parametrize(
    "given",
    [
        [(b"Connection", b"close, X-Own"), (b"X-Own", b"1"), (b"x-own", b"2")],
        [(b"X-Own", b"1"), (b"connection", b"x-own,Keep-Alive")],
        [(b"Server", b"x"), (b"Date", b"x"), (b"Via", b"x"), (b"Set-Cookie", b"x")],
        [(b"WWW-Authenticate", b"Basic"), (b"Transfer-Encoding", b"chunked"), (b"Trailer", b"x")],
        [(b"Access-Control-Allow-Origin", b"*"), (b"X-Ollama-Admin-Digest", b"x")],
        [(b"X-Request-Id", b"x"), (b"Vary", b"x"), (b"Strict-Transport-Security", b"x")],
    ],
)
def test_what_is_about_the_servers_connection_or_ours_to_say_stays_behind(
    given: list[tuple[bytes, bytes]],
) -> None:
    passed = (b"content-type", b"application/json")
    assert to_client([*given, (b"Content-Type", b"application/json")]) == [passed]


def test_what_a_server_says_of_its_answer_passes_in_its_order() -> None:
    given = [(b"X-B", b"1"), (b"openai-model", b"m"), (b"X-B", b"2"), (b"Retry-After", b"7")]
    passed = [(b"x-b", b"1"), (b"openai-model", b"m"), (b"x-b", b"2"), (b"retry-after", b"7")]
    assert to_client(given) == passed


def test_names_and_notes_of_any_alphabet_become_ascii_on_one_line() -> None:
    assert of_server("gpu-ß") == (b"x-ollama-admin-server", b"gpu-\\xdf")
    assert list(of_notes(["a\r\nb: c\x00", "семь"])) == [
        (b"x-ollama-admin-note", b"a  b: c "),
        (b"x-ollama-admin-note", b"\\u0441\\u0435\\u043c\\u044c"),
    ]


def test_notes_are_bounded_each_and_together() -> None:
    values = [value for _, value in of_notes(["x" * 10_000] * 10)]
    assert [len(value) for value in values] == [500] * 4
    assert list(of_notes([""])) == []
