"""`/api/generate`, `/api/chat`, `/api/tags`: Ollama's own shapes, with what we know of the server
and the build.
"""

import base64
import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import httpx
import ollama
import pytest

from ollama_admin.simulator.http import JSON, NDJSON
from ollama_admin.simulator.model import SimulatedModel
from tests.api.conftest import Serve, prefer, register
from tests.api.service import AUTHORIZED, Service
from tests.fake_ollama import Answer, Raw, Recording
from tests.fake_ollama_thread import FakeOllamaThread

DIGEST = "X-Ollama-Admin-Digest"
GENERATE, CHAT, TAGS = "/api/generate", "/api/chat", "/api/tags"
OLD, NEW = (
    SimulatedModel("alpha", build="old"),
    SimulatedModel("alpha", build="new", says="I am the new alpha"),
)
HI = [{"role": "user", "content": "hi"}]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\nrest").decode()


@pytest.fixture
def official(api: Service) -> Iterator[ollama.Client]:
    """The client that others publish, told nothing but a URL and a header."""
    client = ollama.Client(host=api.url, headers=AUTHORIZED)
    yield client
    client._client.close()


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"] == NDJSON
    return [json.loads(line) for line in answer.text.splitlines()]


def server_of(answer: httpx.Response) -> str:
    return answer.headers["X-Ollama-Admin-Server"]


def proof_of(service: Service, answer: httpx.Response) -> tuple[str | None, str | None]:
    """What its receipt says of the build, once it is written."""
    receipt = service.receipt(answer.headers["X-Request-Id"])
    return receipt.proof, receipt.digest


def sent(fake: FakeOllamaThread, path: str) -> list[dict[str, Any]]:
    """The bodies that a server was sent."""
    bodies: list[Any] = [r.body for r in fake.call(lambda: list(fake.fakes[0].requests_to(path)))]
    return bodies


# the official client


def test_official_client_generates(api: Service, official: ollama.Client, fakes: Serve) -> None:
    register(api, fakes(SimulatedModel("alpha", says="one two three")))
    whole = official.generate(model="alpha", prompt="hi")
    assert (whole.response, whole.done, whole.done_reason, whole.model) == (
        "one two three",
        True,
        "stop",
        "alpha",
    )
    assert whole.eval_count == 4
    pieces = list(official.generate(model="alpha", prompt="hi", stream=True))
    assert [piece.response for piece in pieces[:-1]] == ["one", " two", " three"]
    assert (pieces[-1].done, pieces[-1].response) == (True, "")
    assert whole.context == pieces[-1].context


def test_official_client_chats(api: Service, official: ollama.Client, fakes: Serve) -> None:
    model = SimulatedModel(
        "alpha", says="one two", thinking="let me", capabilities=("completion", "thinking")
    )
    register(api, fakes(model))
    whole = official.chat(model="alpha", messages=HI, think=True)
    assert (whole.message.content, whole.message.thinking, whole.message.role) == (
        "one two",
        "let me",
        "assistant",
    )
    pieces = list(official.chat(model="alpha", messages=HI, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == "one two"
    assert pieces[-1].done


def test_official_client_lists_each_name_once(
    api: Service, official: ollama.Client, fakes: Serve
) -> None:
    register(api, fakes(OLD, "beta"), fakes(NEW, "gamma"))
    listed = official.list().models
    assert sorted(model.model or "" for model in listed) == [
        "alpha:latest",
        "beta:latest",
        "gamma:latest",
    ]
    assert {model.model: model.digest for model in listed}["alpha:latest"] == OLD.digest
    assert all(model.size and model.modified_at and model.details for model in listed)


@pytest.mark.parametrize("stream", [True, False])
def test_official_client_is_told_of_a_wrong_model(
    api: Service, official: ollama.Client, fakes: Serve, stream: bool
) -> None:
    register(api, fakes("alpha"))
    for ask in (
        lambda: official.generate(model="alhpa", prompt="hi", stream=stream),
        lambda: official.chat(model="alhpa", messages=HI, stream=stream),
    ):
        with pytest.raises(ollama.ResponseError) as refused:
            list(ask())
        assert refused.value.status_code == 404
        assert refused.value.error == "no active server has model 'alhpa' (nearest: alpha:latest)"


# what goes on, unchanged


def test_every_field_reaches_the_server_as_it_was_given(sqlite_api: Service, fakes: Serve) -> None:
    fake = fakes(SimulatedModel("alpha", capabilities=("completion", "vision")))
    [one] = register(sqlite_api, fake)
    fields = {
        "prompt": "\u2028 hi",
        "system": "be kind",
        "images": [PNG],
        "format": {"type": "object", "b": 1, "a": [None]},
        "options": {"temperature": 1, "num_ctx": 100, "stop": ["x"], "foreign": {"deep": None}},
        "keep_alive": 5.5,
        "template": "{{ .Prompt }}",
        "context": [1, 2],
        "logprobs": True,
        "top_logprobs": 2,
        "truncate": True,
    }
    given = {"model": "alpha", "server": one, **fields, "raw": None, "unknown": [1e3, {}]}
    answer = sqlite_api.ask("POST", GENERATE, given)
    assert answer.status_code == 200, answer.text
    [body] = sent(fake, GENERATE)
    assert body == {"shift": False, **given}
    assert list(body)[2:] == [name for name in given if name != "truncate"]


def test_messages_and_tools_reach_the_server_as_they_were_given(
    sqlite_api: Service, fakes: Serve
) -> None:
    fake = fakes("alpha")
    register(sqlite_api, fake)
    call = {"function": {"name": "look", "arguments": {"at": None, "n": 1.0}}}
    messages = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hi", "images": [PNG]},
        {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_name": "look"},
    ]
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    last = {
        "model": "alpha",
        "created_at": "2026-01-01T00:00:00Z",
        "done": True,
        "done_reason": "stop",
    }
    answered = [
        {
            **last,
            "message": {"role": "assistant", "content": "", "tool_calls": [call], "new": 1},
            "done": False,
        },
        {**last, "message": {"role": "assistant", "content": ""}},
    ]
    fake.call(
        lambda: fake.fakes[0].script_always(
            CHAT,
            Answer(
                body="".join(json.dumps(r) + "\n" for r in answered).encode(), content_type=NDJSON
            ),
        )
    )
    body = {"model": "alpha", "messages": messages, "tools": tools, "shift": False}
    assert lines(sqlite_api.ask("POST", CHAT, body)) == answered
    assert sent(fake, CHAT) == [{"truncate": False, **body}]


@pytest.mark.parametrize("stream", [True, False])
def test_a_model_that_was_only_loaded_has_answered_nothing_but_an_empty_prompt(
    shared_api: Service, fakes: Serve, stream: bool
) -> None:
    fake = fakes("alpha")
    loaded = {"model": "alpha", "response": "", "done": True, "done_reason": "load"}
    record = json.dumps(loaded).encode() + b"\n"
    fault = Answer(200, record, content_type=NDJSON if stream else JSON)
    fake.call(lambda: fake.fakes[0].script_always(GENERATE, fault))
    body = {"model": "alpha", "server_url": fake.url, "stream": stream}
    answers = [shared_api.ask("POST", GENERATE, body | {"prompt": text}) for text in ("", "hi")]
    assert [answer.status_code for answer in answers] == [200, 502]
    assert "did not read the prompt" in answers[1].json()["error"]


LONG = "word " * 40_000


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("path", "asked"),
    [(GENERATE, {"prompt": LONG}), (CHAT, {"messages": [{"role": "user", "content": LONG}]})],
    ids=["generate", "chat"],
)
def test_a_prompt_is_read_whole_or_refused_unless_the_client_says_otherwise(
    shared_api: Service, fakes: Serve, path: str, asked: dict[str, Any], stream: bool
) -> None:
    fake = fakes("alpha")
    body = {"model": "alpha", "server_url": fake.url, "stream": stream, **asked}
    refused = shared_api.ask("POST", path, body)
    assert (refused.status_code, refused.json().keys()) == (400, {"error"})  # the server's own
    assert "40000 tokens" in refused.json()["error"]
    cut = shared_api.ask("POST", path, body | {"truncate": True, "shift": True})
    assert json.loads(cut.text.splitlines()[-1])["prompt_eval_count"] == 1027
    assert [(one["truncate"], one["shift"]) for one in sent(fake, path)] == [
        (False, False),
        (True, True),
    ]


def test_a_service_that_lets_prompts_be_cut_adds_nothing(sqlite_url: str, fakes: Serve) -> None:
    fake = fakes("alpha")
    with Service(sqlite_url, allow_truncate=True) as service:
        body = {"model": "alpha", "server_url": fake.url, "prompt": LONG}
        assert lines(service.ask("POST", GENERATE, body))[-1]["prompt_eval_count"] == 1027
    [asked] = sent(fake, GENERATE)
    assert not {"truncate", "shift"} & asked.keys()


def test_a_cut_by_a_server_that_became_an_old_one_is_noted(
    sqlite_api: Service, fakes: Serve
) -> None:
    fake = fakes("alpha")
    register(sqlite_api, fake)
    fake.call(lambda: setattr(fake.fakes[0], "version", "0.9.6"))
    body = {"model": "alpha", "prompt": LONG, "stream": False, "options": {"num_ctx": 1024}}
    answer = sqlite_api.ask("POST", GENERATE, body)
    assert answer.json()["prompt_eval_count"] == 1024
    assert "the prompt was probably cut" in answer.headers["X-Ollama-Admin-Note"]


@pytest.mark.parametrize(
    "name", ["generate-stream", "chat-thinking", "generate-load", "generate-thinking"]
)
def test_records_come_through_as_the_server_sent_them(
    sqlite_api: Service, fakes: Serve, name: str
) -> None:
    path, asked, body = replay(sqlite_api, fakes, name)
    answer = sqlite_api.ask("POST", path, asked)
    assert (answer.status_code, answer.content) == (200, body)
    assert answer.headers["content-type"] in (NDJSON, JSON)


def replay(
    service: Service, fakes: Serve, name: str, size: int = 100_000
) -> tuple[str, dict[str, Any], bytes]:
    """Have a recorded answer given to the next request; its path, the request and the answer."""
    recording = Recording.load(name)
    path, asked = recording.request["path"], dict(recording.request["body"])
    asked.pop("stream", None)
    fake = fakes(asked["model"])
    register(service, fake)
    fake.call(lambda: fake.fakes[0].script(path, recording.rechunked(size)))
    return path, asked, recording.body


@pytest.mark.parametrize("field", ["width", "_debug_render_only", "template", "allow_remote"])
@pytest.mark.parametrize("version", ["0.33.0", None])
def test_a_field_that_nobody_knows_keeps_no_server_from_answering(
    sqlite_api: Service, fakes: Serve, field: str, version: str | None
) -> None:
    fake = fakes(SimulatedModel("alpha", says="one two"), version=version)
    register(sqlite_api, fake, api_version="native" if version else "v1")
    message = {**HI[0], "name": "me", "cache_control": {"type": "ephemeral"}}
    body = {"model": "alpha", "messages": [message], field: "http://10.0.0.1", "stream": False}
    answer = sqlite_api.ask("POST", CHAT, body)
    assert answer.json()["message"]["content"] == "one two"


def test_a_v1_server_gets_plain_messages_and_answers_in_ollamas_shape(
    sqlite_api: Service, fakes: Serve
) -> None:
    fake = fakes(SimulatedModel("alpha", says="one two"), version=None)
    register(sqlite_api, fake, api_version="v1")
    body = {
        "model": "alpha",
        "messages": [{"role": "system", "content": "be kind"}, *HI],
        "options": {"seed": 1},
    }
    *pieces, last = lines(sqlite_api.ask("POST", CHAT, body))
    assert [piece["message"]["content"] for piece in pieces] == ["one", " two"]
    assert (last["done"], last["done_reason"]) == (True, "stop")
    assert not {"server", "digest", "proof"} & last.keys()
    [asked] = sent(fake, "/v1/chat/completions")
    assert (asked["messages"], asked["seed"]) == (body["messages"], 1)
    whole = sqlite_api.ask(
        "POST", GENERATE, {"model": "alpha", "prompt": "hi", "stream": False}
    ).json()
    assert (whole["response"], whole["done"]) == ("one two", True)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"messages": [*HI, {"role": "assistant", "tool_calls": [{}]}]}, "tool_calls of a message"),
        ({"truncate": False}, "truncate"),
        ({"keep_alive": 1}, "keep-alive"),
        ({"messages": []}, "empty prompt"),
    ],
)
def test_what_v1_cannot_carry_is_refused_before_anything_is_sent(
    sqlite_api: Service, fakes: Serve, more: dict[str, Any], named: str
) -> None:
    fake = fakes("alpha", version=None)
    [one] = register(sqlite_api, fake, api_version="v1")
    refused = sqlite_api.ask(
        "POST", CHAT, {"model": "alpha", "server": one, "messages": HI, **more}
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert named in refused.json()["error"]
    assert sent(fake, "/v1/chat/completions") == []


@pytest.mark.parametrize("more", [{"think": False}, {"think": None}, {"keep_alive": None}])
def test_what_ollamas_clients_send_unasked_keeps_no_v1_server_from_answering(
    sqlite_api: Service, fakes: Serve, more: dict[str, Any]
) -> None:
    fake = fakes(SimulatedModel("alpha", says="one two"), version=None)
    register(sqlite_api, fake, api_version="v1")
    body = {"model": "alpha", "messages": HI, "stream": False, **more}
    assert sqlite_api.ask("POST", CHAT, body).json()["message"]["content"] == "one two"
    [asked] = sent(fake, "/v1/chat/completions")
    assert not more.keys() & asked.keys()


def test_a_model_that_only_v1_servers_have_is_there_though_they_cannot_carry_all(
    sqlite_api: Service, fakes: Serve
) -> None:
    register(sqlite_api, fakes("alpha", version=None), api_version="v1")
    refused = sqlite_api.ask("POST", CHAT, {"model": "alpha", "messages": HI, "keep_alive": 1})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert "cannot carry --keep-alive" in refused.json()["error"]


def test_an_empty_prompt_loads_the_model_as_with_ollama(sqlite_api: Service, fakes: Serve) -> None:
    register(sqlite_api, fakes("alpha"))
    loaded = sqlite_api.ask("POST", GENERATE, {"model": "alpha"}).json()
    assert (loaded["response"], loaded["done"], loaded["done_reason"]) == ("", True, "load")


@pytest.mark.parametrize("image", ["", "no base64!", "QUI", "QU I=", "QUJ="])
def test_images_are_the_business_of_ollama_servers_and_judged_for_others(
    sqlite_api: Service, fakes: Serve, image: str
) -> None:
    own, foreign = fakes("alpha"), fakes("beta", version=None)
    register(sqlite_api, own)
    more = {"name": "v1", "url": foreign.url, "api_version": "v1"}
    assert sqlite_api.ask("POST", "/api/servers", more).status_code == 201
    assert sqlite_api.ask("POST", "/api/discover").json()["failed"] == 0
    for path, body in (
        (GENERATE, {"prompt": "hi", "images": [image]}),
        (CHAT, {"messages": [{"role": "user", "images": [image]}]}),
    ):
        sqlite_api.ask("POST", path, {"model": "alpha", **body})
        assert sent(own, path) == [{"truncate": False, "shift": False, "model": "alpha", **body}]
        refused = sqlite_api.ask("POST", path, {"model": "beta", **body})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
        assert "images" in refused.json()["error"]


# which server, which build


@pytest.mark.parametrize("stream", [True, False])
def test_headers_name_the_server_and_the_build_and_the_receipt_its_proof(
    api: Service, fakes: Serve, stream: bool
) -> None:
    fake = fakes(OLD)
    register(api, fake)
    for path, body in ((GENERATE, {"prompt": "hi"}), (CHAT, {"messages": HI})):
        answer = api.ask("POST", path, {"model": "alpha", **body, "stream": stream})
        assert (server_of(answer), answer.headers[DIGEST]) == ("one", OLD.digest)
        last = json.loads(answer.text.splitlines()[-1])
        assert not {"server", "digest", "proof"} & last.keys()
        assert proof_of(api, answer) == ("digest", OLD.digest)


@pytest.mark.parametrize("server", [2, "two", "TWO"])
def test_only_the_server_that_was_named_is_asked(
    sqlite_api: Service, fakes: Serve, server: int | str
) -> None:
    first, second = fakes("alpha"), fakes("alpha")
    register(sqlite_api, first, second)
    assert (
        sqlite_api.ask(
            "POST", GENERATE, {"model": "alpha", "prompt": "hi", "server": server}
        ).status_code
        == 200
    )
    assert (len(sent(first, GENERATE)), len(sent(second, GENERATE))) == (0, 1)


def test_a_server_that_is_away_is_an_error_and_no_other_one_is_asked(
    sqlite_api: Service, fakes: Serve
) -> None:
    other = fakes("alpha")
    register(sqlite_api, other)
    body = {"model": "alpha", "prompt": "hi", "server_url": "http://127.0.0.1:1"}
    refused = sqlite_api.ask("POST", GENERATE, body)
    assert (refused.status_code, refused.json()["code"]) == (502, "server_unreachable")
    assert sent(other, GENERATE) == []


@pytest.mark.parametrize("stream", [True, False])
def test_a_request_is_passed_on_only_where_no_model_can_be_at_work_on_it(
    sqlite_api: Service, fakes: Serve, stream: bool
) -> None:
    one, two = fakes("alpha"), fakes("alpha")
    [first, _] = register(sqlite_api, one, two)
    prefer(sqlite_api, first)
    gone = Answer(500, {"error": "llama-server process has terminated: exit status 1"})
    one.call(lambda: one.fakes[0].script(CHAT, gone, Raw(), Raw()))
    body = {"model": "alpha", "messages": HI, "stream": stream}
    passed_on = sqlite_api.ask("POST", CHAT, body)
    left = sqlite_api.ask("POST", CHAT, body | {"server": "one"})
    assert server_of(passed_on) == "two"
    assert (left.status_code, left.json()["code"]) == (502, "server_unreachable")
    assert len(sent(two, CHAT)) == 1


def test_a_server_that_is_not_registered_answers_by_its_url_unless_that_is_forbidden(
    sqlite_url: str, fakes: Serve
) -> None:
    fake = fakes("alpha")
    body = {"model": "alpha", "prompt": "hi", "server_url": f"{fake.url}/", "stream": False}
    with Service(sqlite_url) as service:
        answer = service.ask("POST", GENERATE, body)
        assert (answer.status_code, server_of(answer)) == (200, fake.url)
        assert service.ask("GET", "/api/servers").json() == []
    with Service(sqlite_url, environ={"OLLAMA_ADMIN_DYNAMIC_SERVERS": "registered"}) as service:
        refused = service.ask("POST", GENERATE, body)
        assert (refused.status_code, refused.json()["code"]) == (404, "server_not_found")
        register(service, fake)
        assert service.ask("POST", GENERATE, body).status_code == 200


def test_an_inactive_server_is_refused_by_its_url_too(sqlite_api: Service, fakes: Serve) -> None:
    fake = fakes("alpha")
    [one] = register(sqlite_api, fake)
    sqlite_api.ask("PATCH", f"/api/servers/{one}", {"is_active": False})
    for place in ({"server": one}, {"server_url": fake.url}):
        refused = sqlite_api.ask("POST", GENERATE, {"model": "alpha", "prompt": "hi", **place})
        assert (refused.status_code, refused.json()["code"]) == (503, "server_inactive")
    assert sent(fake, GENERATE) == []


@pytest.mark.parametrize("stream", [True, False])
def test_a_demand_that_fails_before_the_text_is_a_conflict(
    sqlite_api: Service, fakes: Serve, stream: bool
) -> None:
    fake = fakes(OLD)
    register(sqlite_api, fake)
    fake.call(lambda: fake.fakes[0].point("alpha", NEW))
    body = {"model": "alpha", "prompt": "hi", "digest": OLD.digest[:12], "stream": stream}
    refused = sqlite_api.ask("POST", GENERATE, body)
    assert (refused.status_code, refused.json()["code"]) == (409, "model_mismatch")
    assert sent(fake, GENERATE) == []


def test_a_demand_that_fails_after_the_text_is_a_line_of_error(
    sqlite_api: Service, fakes: Serve
) -> None:
    async def move(index: int) -> None:
        if index == 1:
            fake.fakes[0].point("alpha", NEW)

    fake = fakes(OLD, before_token=move)
    register(sqlite_api, fake)
    body = {"model": "alpha", "prompt": "hi", "digest": OLD.digest}
    answer = sqlite_api.heard(GENERATE, body)
    assert not answer.is_whole
    *said, last = [json.loads(line) for line in answer.body.splitlines()]
    assert "".join(record["response"] for record in said) == "I am alpha"
    assert not any(record["done"] for record in said)
    assert last.keys() == {"error", "code"}
    assert last["code"] == "model_mismatch"
    fake.call(lambda: fake.fakes[0].point("alpha", OLD))
    whole = sqlite_api.ask("POST", GENERATE, {**body, "stream": False})
    assert (whole.status_code, whole.json()["code"]) == (409, "model_mismatch")


def test_a_stream_that_breaks_ends_with_a_line_of_error(sqlite_api: Service, fakes: Serve) -> None:
    path, asked, body = replay(sqlite_api, fakes, "generate-runner-killed", size=100)
    answer = sqlite_api.heard(path, asked)
    assert answer.status == 502 or not answer.is_whole  # by what comes in one piece
    records = [json.loads(line) for line in answer.body.splitlines()]
    assert "error" in records[-1]
    assert not any(record.get("done") for record in records)
    assert answer.status == 502 or body.startswith(answer.body)  # the server said so itself


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Answer(503, {"error": "server busy"}), 503, None),
        (Answer(500, {"error": "model runner has unexpectedly stopped"}), 500, None),
        (Answer(401, {"error": "unauthorized"}), 502, "server_unauthorized"),
        (Answer(404, {"error": "model 'alpha' not found"}), 404, None),
        (Answer(400, {"error": '"alpha" does not support tools'}), 400, None),
        (Answer(413, "<html>nginx</html>"), 413, "request_refused"),
        (Answer(502, "<html>nginx</html>"), 502, "upstream_error"),
        (Answer(200, {"error": "went wrong"}), 502, "upstream_error"),
        (Answer(200, {"model": "beta", "response": "x", "done": False}), 409, "model_mismatch"),
        (Answer(200, "<html>"), 502, "upstream_error"),
    ],
)
def test_a_failure_before_the_first_text_has_its_status(
    sqlite_api: Service, fakes: Serve, fault: Answer, status: int, code: str | None
) -> None:
    """Without a code it is the server's own answer, byte for byte."""
    fake = fakes("alpha")
    register(sqlite_api, fake)
    fake.call(lambda: fake.fakes[0].script(GENERATE, fault))
    refused = sqlite_api.ask("POST", GENERATE, {"model": "alpha", "prompt": "hi"})
    assert (refused.status_code, refused.json().get("code")) == (status, code)
    if code is None:
        assert refused.json() == fault.body


def test_receipts_say_by_which_way_requests_came(
    sqlite_api: Service, sqlite_url: str, fakes: Serve
) -> None:
    register(sqlite_api, fakes("alpha"))
    sqlite_api.ask("POST", GENERATE, {"model": "alpha", "prompt": "hi"})
    sqlite_api.stop()
    sqlite_api.ended()
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        assert connection.execute("SELECT way, outcome FROM ollama_receipts").fetchall() == [
            ("api", "ok")
        ]
    connection.close()


# notes


def test_notes_go_to_the_one_who_asked(sqlite_api: Service, fakes: Serve) -> None:
    """In headers until the answer begins, and in the log with the number of the request."""
    one, two = fakes(OLD), fakes(NEW)
    register(sqlite_api, one, two)
    said = len(sqlite_api.said)
    answer = sqlite_api.ask("POST", GENERATE, {"model": "alpha", "prompt": "hi"})
    (note,) = answer.headers.get_list("X-Ollama-Admin-Note")
    assert note.startswith("server two is passed over: its build is")
    number = answer.headers["X-Request-Id"]
    assert f"{number} note: {note}" in sqlite_api.logged
    assert sqlite_api.said[said:] == []  # what has no request is said elsewhere


def test_a_note_that_comes_after_the_answer_began_is_in_the_log(
    sqlite_api: Service, fakes: Serve
) -> None:
    fake = fakes("alpha")
    register(sqlite_api, fake)
    fake.call(lambda: setattr(fake.fakes[0], "version", "0.9.6"))
    body = {"model": "alpha", "prompt": LONG, "options": {"num_ctx": 1024}}
    answer = sqlite_api.ask("POST", GENERATE, body)
    number = answer.headers["X-Request-Id"]
    notes = [line for line in sqlite_api.logged if line.startswith(f"{number} note: ")]
    assert len(notes) == 1
    assert "the prompt was probably cut" in notes[0]


def test_a_build_that_moved_is_answered_and_its_receipt_tells_so(
    sqlite_api: Service, fakes: Serve
) -> None:
    fake = fakes(OLD)
    register(sqlite_api, fake)
    fake.call(lambda: fake.fakes[0].point("alpha", NEW))
    answer = sqlite_api.ask("POST", GENERATE, {"model": "alpha", "prompt": "hi"})
    assert answer.headers[DIGEST] == OLD.digest  # as it was known before
    assert proof_of(sqlite_api, answer) == ("drift", NEW.digest)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_what_a_server_says_is_for_the_one_who_asked_and_not_for_the_log(
    sqlite_api: Service, fakes: Serve, status: int
) -> None:
    one, two = fakes("alpha"), fakes("alpha")
    [first, _] = register(sqlite_api, one, two)
    prefer(sqlite_api, first)
    said = Answer(status, {"error": "process has terminated: tell me of my illness"})
    one.call(lambda: one.fakes[0].script(GENERATE, said, said))
    body = {"model": "alpha", "prompt": "hi", "stream": False}
    passed_on = sqlite_api.ask("POST", GENERATE, body)
    assert "server one" in passed_on.headers["X-Ollama-Admin-Note"]
    assert str(status) in passed_on.headers["X-Ollama-Admin-Note"]
    refused = sqlite_api.ask("POST", GENERATE, body | {"server": "one"})
    assert "my illness" in refused.json()["error"]
    logged = sqlite_api.log(7)  # four of the registration, a note, and two of these requests
    assert any(f" note: server one answered {status}" in line for line in logged) or status == 503
    assert not any("illness" in line for line in logged)


def test_notes_in_headers_are_bounded_in_all(sqlite_api: Service, fakes: Serve) -> None:
    register(sqlite_api, fakes(OLD), is_default=True)
    for number in range(12):
        row = {"name": "\N{ROCKET}" * 90 + f"{number}", "url": fakes(NEW).url}
        assert sqlite_api.ask("POST", "/api/servers", row).status_code == 201
    assert sqlite_api.ask("POST", "/api/discover").json()["failed"] == 0
    answer = sqlite_api.ask("POST", GENERATE, {"model": "alpha", "prompt": "hi"})
    assert answer.status_code == 200
    notes = answer.headers.get_list("X-Ollama-Admin-Note")
    assert sum(map(len, notes)) == 2000
    assert max(map(len, notes)) == 500
    number = answer.headers["X-Request-Id"]
    assert len([line for line in sqlite_api.logged if line.startswith(f"{number} note: ")]) == 12


def test_a_note_in_a_header_is_plain_ascii(sqlite_api: Service, fakes: Serve) -> None:
    register(sqlite_api, fakes(OLD))
    other = {"name": "gerät 1", "url": fakes(NEW).url}
    assert sqlite_api.ask("POST", "/api/servers", other).status_code == 201
    sqlite_api.ask("POST", "/api/discover")
    answer = sqlite_api.ask("POST", GENERATE, {"model": "alpha", "prompt": "hi"})
    (note,) = answer.headers.get_list("X-Ollama-Admin-Note")
    assert note.isascii()
    assert "ger\\xe4t" in note
