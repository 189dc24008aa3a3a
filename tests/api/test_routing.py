"""`/api/route`: which server would answer, as `generate --explain -o json` says it."""

import base64
from typing import Any

import pytest

from ollama_admin.simulator.model import SimulatedModel
from tests.api.conftest import Serve, register
from tests.api.service import Service
from tests.cli.running import Cli
from tests.fake_ollama import Answer
from tests.fake_ollama_thread import FakeOllamaThread

ALPHA = SimulatedModel("alpha", capabilities=("completion", "vision"))
HI = [{"role": "user", "content": "hi"}]
GENERATE, CHAT = {"model": "alpha", "prompt": "hi"}, {"model": "alpha", "messages": HI}
SESSION = "X-Claude-Code-Session-Id"


def route(service: Service, body: Any, **headers: str) -> Any:
    answer = service.ask("POST", "/api/route", body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def names(explanation: Any) -> list[str]:
    return [candidate["server"]["name"] for candidate in explanation["candidates"]]


def test_it_is_the_document_of_the_command_line(
    api: Service, database_url: str, fakes: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", database_url)
    register(api, fakes(ALPHA), fakes(ALPHA), fakes("beta"), max_concurrent=4)
    explained = Cli().json("generate", "--explain", "-m", "alpha").data
    answered = route(api, {"model": "alpha"})
    for explanation in (explained, answered):
        for candidate in explanation["candidates"]:
            candidate.pop("catalogue_age_s")
    assert answered == explained
    assert answered["candidates"][0]["preference"] == ["4 of 4 slots free"]


@pytest.mark.parametrize("body", [GENERATE, CHAT], ids=["generate", "chat"])
def test_a_conversation_is_led_to_one_server_and_nothing_is_sent(
    sqlite_api: Service, fakes: Serve, body: dict[str, Any]
) -> None:
    servers = [fakes(ALPHA) for _ in range(3)]
    register(sqlite_api, *servers, max_concurrent=4)
    firsts = set()
    for number in range(12):
        sessions = {SESSION: f"session {number}"}
        first, again = (
            route(sqlite_api, body | more, **sessions) for more in ({}, {"options": {}})
        )
        assert names(first) == names(again)
        assert first["chosen"] == again["chosen"]
        home = first["candidates"][0]
        assert home["server"] == first["chosen"]["server"]
        assert home["preference"] == ["affinity", "4 of 4 slots free"]
        firsts.add(home["server"]["name"])
    assert firsts == {"one", "two", "three"}
    paths = {request.path for fake in servers for request in fake.requests()}
    assert not paths & {"/api/generate", "/api/chat"}


def test_what_is_said_first_leads_to_a_server_too(sqlite_api: Service, fakes: Serve) -> None:
    register(sqlite_api, *(fakes(ALPHA) for _ in range(3)))
    later = [*HI, {"role": "assistant", "content": "hello"}, {"role": "user", "content": "well?"}]
    assert names(route(sqlite_api, CHAT)) == names(route(sqlite_api, CHAT | {"messages": later}))
    orders = {
        tuple(names(route(sqlite_api, GENERATE | {"prompt": f"prompt {number}"})))
        for number in range(12)
    }
    assert len(orders) > 1


def test_it_takes_what_the_routes_of_answers_take(sqlite_api: Service, fakes: Serve) -> None:
    register(sqlite_api, fakes(ALPHA), fakes(ALPHA))
    image = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
    for body in (
        GENERATE | {"images": [image], "system": "be kind", "stream": False, "keep_alive": "5m"},
        CHAT | {"tools": [{"type": "function"}], "think": False},
        GENERATE | {"prompt": None, "messages": None},
    ):
        assert route(sqlite_api, body)["chosen"] is not None
    named = route(sqlite_api, CHAT | {"server": "two"})
    assert named["chosen"]["server"]["name"] == "two"
    assert named["candidates"][0]["preference"] == []
    demanded = route(sqlite_api, CHAT | {"digest": "f" * 64})
    assert demanded["chosen"] is None


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "nothing"}, 404, "model_not_found"),
        ({"prompt": "hi"}, 422, "invalid_input"),
        ({"model": "alpha", "foreign": 1}, 422, "invalid_input"),
        ({"model": "alpha", "images": ["%"]}, 422, "invalid_input"),
        ({"model": "alpha", "server": "nobody"}, 404, "server_not_found"),
    ],
)
def test_what_is_wrong_is_told_as_the_other_routes_tell_it(
    sqlite_api: Service, fakes: Serve, body: dict[str, Any], status: int, code: str
) -> None:
    register(sqlite_api, fakes(ALPHA))
    answer = sqlite_api.ask("POST", "/api/route", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_servers_without_the_label_are_told_with_the_reason(
    sqlite_api: Service, fakes: Serve
) -> None:
    ids = register(sqlite_api, fakes(ALPHA), fakes(ALPHA))
    sqlite_api.ask("PATCH", f"/api/servers/{ids[1]}", {"labels": {"gpu": "a100"}})
    told = route(sqlite_api, GENERATE | {"labels": ["gpu=a100"]})
    assert told["chosen"]["server"]["name"] == "two"
    reasons = {each["server"]["name"]: each["reason"] for each in told["candidates"]}
    assert reasons == {"one": "it has no label gpu=a100", "two": None}


# what is routed so is answered so

WHOLE = {"stream": False}


def answered_by(service: Service, path: str, body: dict[str, Any], **headers: str) -> str:
    answer = service.ask("POST", path, body | WHOLE, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Ollama-Admin-Server"]


@pytest.mark.parametrize(("path", "body"), [("/api/generate", GENERATE), ("/api/chat", CHAT)])
def test_the_server_that_route_names_answers(
    sqlite_api: Service, fakes: Serve, path: str, body: dict[str, Any]
) -> None:
    register(sqlite_api, *(fakes(ALPHA) for _ in range(3)), max_concurrent=4)
    names = set()
    for number in range(8):
        session = {SESSION: f"session {number}"}
        chosen = route(sqlite_api, body, **session)["chosen"]["server"]["name"]
        assert answered_by(sqlite_api, path, body, **session) == chosen
        names.add(chosen)
    assert len(names) > 1


def shows_loaded(server: FakeOllamaThread, *models: SimulatedModel) -> None:
    entries = [{"name": f"{model.name}:latest", "digest": model.digest} for model in models]
    answer = Answer(200, {"models": entries})
    server.call(lambda: server.fakes[0].script_always("/api/ps", answer))


def test_a_model_that_is_loaded_draws_the_next_requests(sqlite_api: Service, fakes: Serve) -> None:
    """What servers have in memory is read behind the second request."""
    first, second = fakes(ALPHA), fakes(ALPHA)
    register(sqlite_api, first, second, max_concurrent=4)
    shows_loaded(first)
    shows_loaded(second, ALPHA)
    for _ in range(2):
        answered_by(sqlite_api, "/api/chat", CHAT)
    explained = route(sqlite_api, CHAT)
    while explained["candidates"][0]["preference"][0] != "loaded":
        explained = route(sqlite_api, CHAT)
    assert explained["chosen"]["server"]["name"] == "two"
    assert explained["candidates"][0]["preference"][:2] == ["loaded", "affinity"]
    for number in range(4):
        session = {SESSION: f"session {number}"}
        assert answered_by(sqlite_api, "/api/chat", CHAT, **session) == "two"
