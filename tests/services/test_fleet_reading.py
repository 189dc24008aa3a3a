"""A fleet file, read: what it says is what stands there, and every mistake has its place."""

import json

import pytest

from ollama_admin.domain.fleet_file import FleetFile
from ollama_admin.domain.keys import KeyColumns
from ollama_admin.domain.servers import ServerColumns
from ollama_admin.errors import InvalidFile
from ollama_admin.rules import fleet_schema, yaml_nodes
from ollama_admin.rules.fleet_text import document_of, yaml_of
from ollama_admin.services.fleet_reading import DEFAULTS, read_file

WHOLE = """\
version: 1
owner: team
servers:
  - name: gpu-1
    url: 10.0.0.1
    labels: {country: no, clock: 12:30:00, octal: 010}
    auth: {type: basic, username: me, secret: env:TOKEN}
    headers: {X-One: file:/run/secret}
  - name: vllm
    url: http://vllm:8000/v1
    is_active: false
models:
  - {name: "llama3.2:3b", digest: 1e1234567890, servers: [GPU-1]}
  - {name: qwen3, labels: [country=no]}
pins:
  - {name: "llama3.2:3b", digest: 123456789012}
keys:
  - {name: office, can: [read, ask], expires_at: 2027-01-01, tokens_per_day: 9000000000}
settings: {default_server: gpu-1}
"""


def mistakes(text: str | bytes) -> list[str]:
    with pytest.raises(InvalidFile) as caught:
        read_file(text)
    return list(caught.value.lines)


def begun(rest: str) -> str:
    return f"version: 1\nowner: team\n{rest}"


def test_every_scalar_is_the_text_that_stands_there() -> None:
    file = read_file(WHOLE)
    first, second = file.servers
    assert first.values["labels"] == {"clock": "12:30:00", "country": "no", "octal": "010"}
    assert first.values["url"] == "http://10.0.0.1:11434"
    assert first.values["auth"] == {"type": "basic", "username": "me", "secret": "env:TOKEN"}
    assert (second.values["api_version"], second.values["is_active"]) == ("v1", False)
    assert [(each.server, each.model, each.digest) for each in file.models] == [
        ("gpu-1", "llama3.2:3b", "1e1234567890"),
        ("gpu-1", "qwen3", None),
    ]
    assert file.pins[0].values["digest"] == "123456789012"
    assert file.keys[0].values["tokens_per_day"] == 9_000_000_000
    assert file.keys[0].values["can"] == ["ask", "read"]


def same(one: FleetFile, other: FleetFile) -> bool:
    return document_of(one, DEFAULTS) == document_of(other, DEFAULTS)


def test_file_that_is_written_says_the_same_in_yaml_and_in_json() -> None:
    file = read_file(WHOLE)
    document = document_of(file, DEFAULTS)
    assert same(read_file(yaml_of(document)), file)
    assert same(read_file(json.dumps(document, indent="\t", default=str)), file)


def test_json_is_read_with_what_only_json_has() -> None:
    text = json.dumps(
        {"version": 1, "owner": "\N{ROCKET} \\ud83d", "servers": []}, indent="\t"
    ).replace("\n", "\r\n")
    assert read_file(text).owner == "\N{ROCKET} \\ud83d"
    assert mistakes('{"version": 1, "owner": "\\ud83d"}')
    assert mistakes('{"version": 1, "owner": "a", "owner": "b"}') == [
        "line 1, column 30: 'owner' stands here twice"
    ]


def test_all_mistakes_are_told_at_once_with_their_places() -> None:
    text = """\
version: 2
servers:
  - name: one
    url: http://u:p@host
    prot: 1
    is_active: yes
    max_concurrent: 1_0
  - name: ONE
    url: http://second
    labels: {a: null}
    default_model:
  - {name: three, url: http://third}
models:
  - {name: 'q*', servers: [one]}
  - {name: q, servers: [nobody]}
  - name: q
keys:
  - {name: k, can: [fly], anonymous: true}
settings: {default_server: nobody}
extra: 1
"""
    starts = [
        "line 1, column 1: it has no owner",
        "line 1, column 10: version '2' is not 1",
        "line 4, column 10: the URL holds a user or a password",
        "line 5, column 5: a server has no 'prot'; there are: name",
        "line 6, column 16: is_active is true or false, not 'yes'",
        "line 7, column 21: max_concurrent is a whole number in digits, not '1_0'",
        "line 8, column 11: the server 'ONE' stands in line 3, too",
        "line 10, column 17: labels.a has no value",
        "line 11, column 19: default_model has no value",
        "line 14, column 12: 'q*' does not name one model",
        "line 15, column 24: the file has no server 'nobody'",
        "line 16, column 5: a model has neither servers nor labels",
        "line 18, column 5: key k is for requests without a key, and names no network",
        "line 18, column 20: a right in 'fly' is not known",
        "line 19, column 28: the file has no server 'nobody'",
        "line 20, column 1: a fleet file has no 'extra'",
    ]
    told = mistakes(text)
    assert [line[: len(start)] for line, start in zip(told, starts, strict=True)] == starts


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1, column 1: it is empty"),
        ("- a", "line 1, column 1: a fleet file is an object"),
        ("version: 1\n---\nversion: 1", "line 2, column 1: a second document"),
        (begun("servers: !!python/object:os.system []"), "line 3, column 10: the tag"),
        (begun("servers: &a [*a]"), "line 3, column 14: the alias 'a' has no anchor"),
        (begun("servers: [&a {}, &a {}]"), "line 3, column 18: the anchor 'a' stands here twice"),
        (begun("servers:\n  - <<: {}"), "line 4, column 5: merge keys"),
        (begun("servers:\n  - [a]: b"), "line 4, column 5: a list or an object is no key"),
        (begun("servers: [" + "[" * 30), "line 3, column 29: it is nested deeper than 20"),
        (begun("servers: ["), "line 4, column 1: no YAML"),
        (begun("x: \x01"), "line 1, column 1: no YAML: control characters"),
        (begun("servers: 3"), "line 3, column 10: servers is a list"),
        (begun("keys:\n  - {name: k, expires_at: 90d}"), "line 4, column 27: expires_at is a date"),
        (
            begun("servers:\n  - {name: a, url: x}\n  - {name: b, url: 'x:11434'}"),
            "line 5, column 12: the URL http://x:11434 stands in line 4, too",
        ),
        (begun("owner: b"), "line 3, column 1: 'owner' stands here twice"),
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(text: str, told: str) -> None:
    assert [line for line in mistakes(text) if line.startswith(told)], mistakes(text)


def test_aliases_are_taken_up_to_a_bound() -> None:
    servers = "servers:\n  - {name: a, url: http://a, labels: &l {gpu: a100}}\n"
    more = "".join(f"  - {{name: b{n}, url: http://b{n}, labels: *l}}\n" for n in range(100))
    assert len(read_file(begun(servers + more)).servers) == 101
    one_more = "  - {name: c, url: http://c, labels: *l}\n"
    assert "more than 100 aliases" in mistakes(begun(servers + more + one_more))[-1]


def test_aliases_of_aliases_take_no_more_memory_than_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(yaml_nodes, "NODES", 10_000)
    lines = ["a: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "it has more than 10000 values" in mistakes("\n".join(lines))[-1]


def test_secret_in_a_file_is_refused_and_never_repeated() -> None:
    text = begun(
        "servers:\n  - name: a\n    url: http://a\n    auth: {type: bearer, secret: hunter2}\n"
        "    headers: {X-Key: hunter3}\n"
    )
    told = "\n".join(mistakes(text))
    assert "never the secret itself" in told
    assert "hunter" not in told


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        ("file:secret.txt", "whole path"),
        ("env:OLLAMA_ADMIN_SECRET_KEY", "setting of ollama-admin"),
        ("env:A B", "never the secret itself"),
    ],
)
def test_reference_means_the_same_wherever_the_file_is_applied(secret: str, told: str) -> None:
    auth = f"auth: {{type: bearer, secret: '{secret}'}}"
    assert told in mistakes(begun(f"servers:\n  - {{name: a, url: http://a, {auth}}}"))[0]


@pytest.mark.parametrize(
    ("url", "more", "told"),
    [
        ("https://a", "ca_file: ca.pem", "line 4, column 42: ca_file is named by its whole path"),
        ("http://a", "ca_file: /ca.pem", "line 4, column 5: ca_file is for https:// only"),
        ("https://a", "client_key_file: /k", "line 4, column 5: there is a client key, and no"),
        ("https://a", "proxy: http://u:p@x", "line 4, column 40: the proxy of a server cannot"),
    ],
)
def test_files_of_connections_are_whole_paths_that_fit(url: str, more: str, told: str) -> None:
    [line] = mistakes(begun(f"servers:\n  - {{name: a, url: '{url}', {more}}}"))
    assert line.startswith(told)


def test_bytes_that_are_no_text_are_refused() -> None:
    assert mistakes(b"\xff") == ["the file is not UTF-8"]


def test_more_mistakes_than_anybody_reads_are_counted() -> None:
    told = mistakes(begun("".join(f"x{n}: 1\n" for n in range(150))))
    assert (len(told), told[-1]) == (101, "and 50 more")


def test_file_can_say_every_column_that_commands_can_set() -> None:
    """A column that is new to `server add` or `key add` is new to files, too."""
    elsewhere = {"is_default"}  # of the settings
    assert ServerColumns.__annotations__.keys() - elsewhere <= fleet_schema.SERVER.keys()
    assert KeyColumns.__annotations__.keys() <= fleet_schema.KEY.keys()
