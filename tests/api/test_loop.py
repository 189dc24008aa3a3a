"""What takes long is done beside the loop: a fixture of conftest.py fails each test of this folder
in which it is not.
"""

import base64
import gc
import json
import random
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from ollama_admin.domain.names import model_key
from ollama_admin.gateway.limits import VALUES_LIMIT
from tests.api.conftest import Serve, register
from tests.api.service import Service, answer_of, request

MANY = 10_000


@pytest.fixture(autouse=True)
def nothing_large_is_left() -> Iterator[None]:
    """A body of a test may stand 200 MB in memory, and would until garbage is next looked for."""
    yield
    gc.collect()


def asked(service: Service, path: str, body: bytes) -> int:
    return answer_of(service.raw(request("POST", path, body)))[0]


def long_names(count: int) -> list[str]:
    """Names of the same 190 letters in other orders: the most that comparing them can cost."""
    chance, letters = random.Random(1), list("abcdefghij" * 19)
    names = []
    for _ in range(count):
        chance.shuffle(letters)
        names.append("".join(letters))
    return names


def test_a_name_that_a_server_does_not_list_is_compared_with_thousands(
    sqlite_api: Service, fakes: Serve
) -> None:
    wanted, *names = long_names(MANY)
    fake = fakes(*names, version=None)
    body = {"model": wanted, "prompt": "hi", "server_url": f"{fake.url}/v1"}
    answer = sqlite_api.ask("POST", "/api/generate", body)
    assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")


def test_a_name_that_nobody_lists_is_compared_with_thousands(sqlite_url: str, fakes: Serve) -> None:
    wanted, *names = long_names(MANY)
    with Service(sqlite_url) as service:
        register(service, fakes("alpha"))
        copy_model(sqlite_url, names)
        answer = service.ask("POST", "/api/generate", {"model": wanted, "prompt": "hi"})
    assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/generate", b'{"model": "a", "context": [' + b"1," * (VALUES_LIMIT - 9) + b"1]}"),
        ("/api/generate", b'{"model": "a", "context": [' + b'"",' * (VALUES_LIMIT - 9) + b'""]}'),
        ("/api/generate", b'{"model": "a", "images": [' + b"1," * (VALUES_LIMIT - 9) + b"1]}"),
        ("/api/chat", b'{"model": "a", "messages": [' + b"1," * (VALUES_LIMIT - 9) + b"1]}"),
        (
            "/api/chat",
            b'{"model": "a", "messages": [{"role": "u", "images": ['
            + b"1," * (VALUES_LIMIT - 9)
            + b"1]}]}",
        ),
        ("/api/servers", b'{"capabilities": [' + b'"",' * 300_000 + b'""]}'),
    ],
)
def test_a_body_of_many_values_is_read_and_judged(
    sqlite_api: Service, path: str, body: bytes
) -> None:
    assert 400 <= asked(sqlite_api, path, body) < 500


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat", "/api/servers"])
def test_a_body_of_many_unknown_fields_is_refused(sqlite_api: Service, path: str) -> None:
    body = json.dumps({f"{number:x}": 1 for number in range(100_000)})
    assert 400 <= asked(sqlite_api, path, body.encode()[: 2**20]) < 500


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_a_body_of_a_large_image_is_passed_on(sqlite_api: Service, fakes: Serve, path: str) -> None:
    fake = fakes("alpha")
    register(sqlite_api, fake)
    image = base64.b64encode(bytes(20 * 2**20)).decode()
    body: dict[str, Any] = {"model": "alpha", "stream": False}
    if path == "/api/chat":
        body["messages"] = [{"role": "user", "content": "hi", "images": [image]}]
    else:
        body |= {"prompt": "hi", "images": [image]}
    assert asked(sqlite_api, path, json.dumps(body).encode()) == 400
    [sent] = fake.call(lambda: fake.fakes[0].requests_to(path))
    assert sent.body == body | {"truncate": False, "shift": False}


@pytest.mark.parametrize(("path", "count"), [("/api/tags", MANY), ("/api/models?limit=1000", 1000)])
def test_lists_of_thousands_of_models_are_shown(
    sqlite_url: str, fakes: Serve, path: str, count: int
) -> None:
    with Service(sqlite_url) as service:
        register(service, fakes("alpha"))
        copy_model(sqlite_url, [f"model-{number}" for number in range(MANY - 1)])
        answer: Any = service.ask("GET", path).json()
    models = answer["models"] if path == "/api/tags" else answer
    assert len(models) == count


def test_a_list_of_a_thousand_servers_is_shown(sqlite_url: str) -> None:
    with Service(sqlite_url) as service:
        assert service.ask("POST", "/api/servers", {"name": "s", "url": "10.0.0.1"}).is_success
        copy_server(sqlite_url, 999)
        assert len(service.ask("GET", "/api/servers?limit=1000").json()) == 1000


def copy_server(url: str, count: int) -> None:
    """Make many servers of the one that there is."""
    rows = (
        (f"s{number}", f"s{number}", f"http://10.0.0.2:{number + 1}") for number in range(count)
    )
    copy_row(url, "ollama_servers", ("name", "name_key", "url"), rows)


def copy_model(url: str, names: Iterable[str]) -> None:
    """Make many models of the one that there is: to discover them would take seconds."""
    rows = ((name, model_key(name)) for name in names)
    copy_row(url, "ollama_models", ("name", "name_key"), rows)


def copy_row(url: str, table: str, own: Sequence[str], values: Iterable[tuple[str, ...]]) -> None:
    """Copy the first row of a table of an SQLite file; `values` are those of the columns `own`."""
    with sqlite3.connect(url.removeprefix("sqlite:///")) as file:
        columns = [row[1] for row in file.execute(f"PRAGMA table_info({table})")]
        same = [column for column in columns if column not in ("id", *own)]
        insert = (
            f"INSERT INTO {table} ({', '.join([*own, *same])}) "
            f"SELECT {', '.join([*('?' for _ in own), *same])} FROM {table} ORDER BY id LIMIT 1"
        )
        file.executemany(insert, values)


def test_the_documentation_is_made_at_the_first_request(sqlite_api: Service) -> None:
    assert sqlite_api.ask("GET", "/openapi.json").status_code == 200
    assert sqlite_api.ask("GET", "/docs/swagger-ui-bundle.js").status_code == 200
