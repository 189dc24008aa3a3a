"""`ollama-admin generate`: which server and model answer, and what they are asked."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ollama_admin.simulator.model import SimulatedModel
from tests.cli.conftest import Serve
from tests.cli.running import SECONDS, Cli
from tests.fake_ollama import Answer, Silence
from tests.fake_ollama_thread import FakeOllamaThread

NOWHERE = "http://127.0.0.1:9"
CLOUD = SimulatedModel(
    "gpt-oss:120b-cloud",
    remote_host="https://ollama.com:443",
    remote_model="gpt-oss:120b",
    says="I am far away",
)
SEES = SimulatedModel(
    "alpha",
    build="sees",
    capabilities=("completion", "vision", "thinking"),
    thinking="let me think",
)
PNG = b"\x89PNG\r\n\x1a\n\x00"


def add(cli: Cli, name: str, fake: FakeOllamaThread, *options: str, tail: str = "") -> None:
    """Register the server and read its models."""
    assert cli("server", "add", name, fake.url + tail, "--no-check", *options).exit_code == 0
    assert cli("discover", name).exit_code == 0


def asked(fake: FakeOllamaThread, *paths: str) -> list[Any]:
    """The bodies of the requests for text."""
    paths = paths or ("/api/generate", "/api/chat", "/v1/chat/completions")
    return [request.body for request in fake.requests() if request.path in paths]


def answering(cli: Cli, *words: str) -> str | None:
    """The name of the server that answers."""
    return cli.json("generate", "hi", *words).data["server"]["name"]


# the server


def test_server_that_lists_the_model_answers(cli: Cli, serve: Serve) -> None:
    one, two = serve("alpha"), serve("beta")
    add(cli, "one", one)
    add(cli, "two", two)
    ran = cli("generate", "-m", "beta", "hi")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "I am alpha", "")
    assert [body["model"] for body in asked(two)] == ["beta:latest"]
    assert asked(one) == []


def test_default_comes_before_priority_and_priority_before_age(cli: Cli, serve: Serve) -> None:
    for name, options in {
        "old": (),
        "new": (),
        "high": ("--priority", "1"),
        "default": ("--default",),
    }.items():
        add(cli, name, serve("alpha"), *options)
    order = []
    for _ in range(4):
        order.append(answering(cli, "-m", "alpha"))
        cli("server", "disable", order[-1])
    assert order == ["default", "high", "old", "new"]


def test_named_server_answers_by_name_or_id(cli: Cli, serve: Serve) -> None:
    add(cli, "one", serve("alpha"), "--default")
    add(cli, "two", serve("alpha"))
    assert answering(cli, "-m", "alpha", "-s", "TWO") == "two"
    assert answering(cli, "-m", "alpha", "--server", "2") == "two"


def test_named_server_is_asked_for_a_model_that_was_never_discovered(
    cli: Cli, serve: Serve
) -> None:
    fake = serve("alpha")
    add(cli, "one", fake)
    fake.call(lambda: fake.fakes[0].point("new", SimulatedModel("new", says="I am new")))
    assert cli("generate", "-s", "one", "-m", "new", "hi").stdout == "I am new"
    ran = cli.json("generate", "-s", "one", "-m", "missing", "hi")
    assert ran.failure == (3, "model_not_found")


def test_named_server_that_is_inactive_is_refused_with_the_way_out(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    add(cli, "one", fake)
    cli("server", "disable", "one")
    ran = cli.json("generate", "-s", "one", "-m", "alpha", "hi")
    assert ran.failure == (4, "server_inactive")
    assert ran.error["hint"] == "enable it with: ollama-admin server enable one"
    assert asked(fake) == []


def test_unknown_server_is_not_found(cli: Cli) -> None:
    assert cli.json("generate", "-s", "none", "-m", "alpha", "hi").failure == (
        3,
        "server_not_found",
    )


def test_failing_server_fails_the_command_and_no_other_is_asked(cli: Cli, serve: Serve) -> None:
    one, two = serve("alpha"), serve("alpha")
    add(cli, "one", one, "--default")
    add(cli, "two", two)
    one.fakes[0].script("/api/generate", Answer(500, {"error": "no memory"}))
    ran = cli.json("generate", "-s", "one", "-m", "alpha", "hi")
    assert ran.failure == (6, "upstream_error")
    assert "no memory" in ran.error["message"]
    assert asked(two) == []


def test_server_url_with_the_path_of_one_call_means_its_server(cli: Cli, serve: Serve) -> None:
    ran = cli("generate", "--server-url", f"{serve('alpha').url}/api/chat", "-m", "alpha", "hi")
    assert (ran.exit_code, "note: /api/chat is the path of one call" in ran.stderr) == (0, True)


def test_capability_of_a_server_or_a_model_chooses(cli: Cli, serve: Serve) -> None:
    add(cli, "plain", serve("alpha"), "--default")
    add(cli, "seeing", serve(SEES))
    add(cli, "coding", serve("alpha"), "--capability", "code")
    assert answering(cli, "-m", "alpha", "--capability", "VISION") == "seeing"
    assert answering(cli, "-m", "alpha", "--capability", "code") == "coding"
    ran = cli.json("generate", "-m", "alpha", "--capability", "singing", "hi")
    assert ran.failure == (3, "model_not_found")
    assert "with the capability 'singing'" in ran.error["message"]


@pytest.mark.parametrize(
    "words",
    [
        ("-s", "one", "--server-url", NOWHERE),
        ("-s", "one", "--capability", "code"),
        ("--server-url", NOWHERE, "--capability", "code"),
        ("--no-think", "--think-level", "high"),
        ("--timeout", "0"),
        ("--timeout", "nan"),
        ("--timeout", "soon"),
        ("--think-level", "most"),
        ("--model", ""),
        ("--model", " "),
        ("--model", "alpha\n"),
        ("--server-url", "ftp://x"),
        ("--server-url", ""),
        ("--server-url", "http://me:secret@gpu"),
        ("--image", "none.png"),
        ("--format", "none.json"),
        ("--option", "num_ctx"),
        ("--keep-alive", "soon"),
        ("--system", "a\udcffb"),
    ],
)
def test_senseless_request_is_refused_before_anything_is_sent(
    sqlite_cli: Cli, serve: Serve, words: tuple[str, ...]
) -> None:
    fake = serve("alpha")
    add(sqlite_cli, "one", fake, "--default", "--default-model", "alpha")
    ran = sqlite_cli.json("generate", "hi", *words)
    assert ran.failure == (2, "invalid_input")
    assert "secret" not in ran.stderr.replace("--secret-stdin", "")
    assert asked(fake) == []


# --server-url


def test_url_that_no_row_has_answers_and_is_not_stored(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    reply = cli.json("generate", "--server-url", f"{fake.url}/", "-m", "alpha", "hi").data
    assert reply["server"] == {"id": None, "name": None, "url": fake.url}
    assert reply["response"] == "I am alpha"
    assert cli.json("server", "list").data == []
    assert cli.json("models", "--all").data == []


def test_url_that_ends_in_v1_is_spoken_to_as_v1(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    assert (
        cli("generate", "--server-url", f"{fake.url}/v1", "-m", "alpha", "hi").stdout
        == "I am alpha"
    )
    assert len(asked(fake, "/v1/chat/completions")) == 1


def test_url_of_a_row_is_that_server(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    add(cli, "one", fake, "--default-model", "alpha")
    ran = cli.json("generate", "--server-url", fake.url, "hi")
    assert ran.data["server"] == {"id": 1, "name": "one", "url": fake.url}
    assert "default model of server one: alpha" in ran.stderr


def test_dialect_of_a_row_applies_to_its_url_unless_the_url_ends_in_v1(
    cli: Cli, serve: Serve
) -> None:
    first, second = serve("alpha"), serve("alpha")
    add(cli, "v1", first, tail="/v1")
    add(cli, "native", second)
    assert cli("generate", "--server-url", first.url, "-m", "alpha", "hi").exit_code == 0
    assert cli("generate", "--server-url", f"{second.url}/v1", "-m", "alpha", "hi").exit_code == 0
    assert (
        len(asked(first, "/v1/chat/completions")),
        len(asked(second, "/v1/chat/completions")),
    ) == (1, 1)


def test_url_of_an_inactive_row_answers_and_a_note_says_so(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    add(cli, "one", fake)
    cli("server", "disable", "one")
    ran = cli("generate", "--server-url", fake.url, "-m", "alpha", "hi")
    assert (ran.exit_code, ran.stdout) == (0, "I am alpha")
    assert "server one is inactive" in ran.stderr


def test_url_behind_which_is_no_ollama_is_an_error(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha", version=None)
    ran = cli.json("generate", "--server-url", fake.url, "-m", "alpha", "hi")
    assert ran.failure == (6, "upstream_error")
    assert "/v1" in ran.error["hint"]
    assert asked(fake) == []


def test_url_where_nothing_answers_is_unreachable(cli: Cli) -> None:
    assert cli.json("generate", "--server-url", NOWHERE, "-m", "alpha", "hi").failure == (
        6,
        "server_unreachable",
    )


# no --model


def test_named_server_answers_with_its_default_model(cli: Cli, serve: Serve) -> None:
    add(
        cli,
        "one",
        serve("alpha", SimulatedModel("beta", says="I am beta")),
        "--default-model",
        "beta",
    )
    ran = cli("generate", "-s", "one", "hi")
    assert (ran.exit_code, ran.stdout) == (0, "I am beta")
    assert ran.stderr == "note: using the default model of server one: beta\n"


def test_default_server_answers_with_its_default_model(cli: Cli, serve: Serve) -> None:
    add(cli, "first", serve("alpha"), "--default-model", "alpha", "--priority", "9")
    add(cli, "second", serve("beta"), "--default-model", "beta", "--default")
    reply = cli.json("generate", "hi").data
    assert (reply["server"]["name"], reply["model"]) == ("second", "beta:latest")


def test_first_server_with_the_capability_answers_with_its_default_model(
    cli: Cli, serve: Serve
) -> None:
    add(cli, "default", serve("alpha"), "--default", "--default-model", "alpha")
    add(cli, "low", serve("beta"), "--capability", "code", "--default-model", "beta")
    add(
        cli,
        "high",
        serve("gamma"),
        "--capability",
        "code",
        "--default-model",
        "gamma",
        "--priority",
        "1",
    )
    assert cli.json("generate", "--capability", "code", "hi").data["model"] == "gamma:latest"


def test_server_without_a_default_model_is_never_passed_over(cli: Cli, serve: Serve) -> None:
    add(cli, "one", serve("alpha"), "--default", "--capability", "code")
    add(cli, "two", serve("beta"), "--capability", "code", "--default-model", "beta")
    for words in ((), ("-s", "one"), ("--capability", "code")):
        ran = cli.json("generate", "hi", *words)
        assert ran.failure == (2, "invalid_input")
        assert "server one has no default model" in ran.error["message"]
        assert "--default-model" in ran.error["hint"]


def test_without_model_and_default_server_nothing_is_guessed(cli: Cli, serve: Serve) -> None:
    add(cli, "one", serve("alpha"), "--default-model", "alpha")
    assert cli.json("generate", "hi").failure == (2, "invalid_input")
    assert cli.json("generate", "--capability", "code", "hi").failure == (2, "invalid_input")


def test_inactive_default_server_is_an_error(cli: Cli, serve: Serve) -> None:
    add(cli, "one", serve("alpha"), "--default-model", "alpha", "--default")
    cli("server", "disable", "one")
    assert cli.json("generate", "hi").failure == (4, "server_inactive")


def test_unregistered_url_has_no_default_model(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    assert cli.json("generate", "--server-url", fake.url, "hi").failure == (2, "invalid_input")
    assert asked(fake) == []


# the model's name


@pytest.mark.parametrize(
    "name", ["alpha", "ALPHA:latest", "library/alpha", "registry.ollama.ai/library/alpha:latest"]
)
def test_servers_own_spelling_is_sent(cli: Cli, serve: Serve, name: str) -> None:
    fake = serve("Alpha")
    add(cli, "one", fake)
    reply = cli.json("generate", "-m", name, "hi").data
    assert reply["model"] == "Alpha:latest"
    assert asked(fake)[0]["model"] == "Alpha:latest"


def test_two_models_of_one_name_are_ambiguous_and_nothing_is_sent(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha", "Alpha")
    add(cli, "one", fake)
    for words in ((), ("-s", "one"), ("--server-url", fake.url)):
        ran = cli.json("generate", "-m", "alpha", "hi", *words)
        assert ran.failure == (4, "model_ambiguous")
        assert "'Alpha:latest'" in ran.error["message"]
    assert asked(fake) == []


def test_unknown_model_names_the_nearest_ones(cli: Cli, serve: Serve) -> None:
    fake = serve("qwen3-vl:8b", "llama3.2:3b")
    add(cli, "one", fake)
    ran = cli.json("generate", "-m", "qwen3-vl:32b", "hi")
    assert ran.failure == (3, "model_not_found")
    assert ran.error["hint"] == "nearest: qwen3-vl:8b"
    assert (
        cli.json("generate", "-m", "quite-else", "hi").error["hint"].startswith("see what there is")
    )
    assert asked(fake) == []


def test_unknown_model_names_inactive_servers_that_have_it(cli: Cli, serve: Serve) -> None:
    add(cli, "one", serve("alpha"))
    cli("server", "disable", "one")
    assert (
        cli.json("generate", "-m", "alpha", "hi").error["hint"] == "inactive servers have it: one"
    )


def test_without_any_models_discovery_is_the_hint(cli: Cli) -> None:
    ran = cli("generate", "-m", "alpha", "hi")
    assert (ran.exit_code, ran.stdout) == (3, "")
    assert ran.stderr == (
        "error: no active server has model 'alpha'\nhint: no models are known yet: run "
        "ollama-admin discover\n"
    )


def test_vanished_model_is_not_asked_for(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha", "beta")
    add(cli, "one", fake)
    fake.call(lambda: fake.fakes[0].remove("alpha"))
    cli("discover")
    assert cli.json("generate", "-m", "alpha", "hi").failure == (3, "model_not_found")
    assert asked(fake) == []


def test_server_that_is_not_ollama_must_list_the_model_first(cli: Cli, serve: Serve) -> None:
    fake = serve("Org/Model", version=None, answers_any_model=True)
    add(cli, "other", fake, tail="/v1")
    for words in (("-s", "other"), ("--server-url", f"{fake.url}/v1")):
        ran = cli.json("generate", "-m", "org/model", "hi", *words)
        assert ran.failure == (3, "model_not_found")
        assert "Org/Model" in ran.error["hint"]
    assert asked(fake) == []
    assert cli("generate", "-m", "Org/Model", "hi").stdout == "I am alpha"


def test_answer_under_another_name_is_never_accepted(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    add(cli, "one", fake)
    other = {"model": "beta:latest", "response": "I am beta", "done": True, "done_reason": "stop"}
    fake.fakes[0].script("/api/generate", Answer(200, json.dumps(other) + "\n"))
    ran = cli.json("generate", "-m", "alpha", "--stream", "hi")
    assert ran.failure == (6, "model_mismatch")
    assert "answered as 'beta:latest'" in ran.error["message"]


# remote models


def test_remote_model_is_refused_and_the_prompt_stays(cli: Cli, serve: Serve) -> None:
    fake = serve(
        CLOUD, SimulatedModel("alias", remote_host="https://ollama.com:443", remote_model="big")
    )
    add(cli, "one", fake)
    for words in ((), ("-s", "one"), ("--server-url", fake.url)):
        for model in ("gpt-oss:120b-cloud", "alias"):
            ran = cli.json("generate", "-m", model, "hi", *words)
            assert ran.failure == (4, "remote_not_allowed")
            assert ran.error["hint"] == "allow it with --allow-remote"
    assert cli.json("generate", "--server-url", fake.url, "-m", "x:cloud", "hi").failure == (
        4,
        "remote_not_allowed",
    )
    assert asked(fake) == []


def test_allowed_remote_model_answers_and_a_note_says_so(cli: Cli, serve: Serve) -> None:
    add(cli, "one", serve(CLOUD))
    ran = cli.json("generate", "-m", "gpt-oss:120b-cloud", "--allow-remote", "hi")
    assert (ran.data["response"], ran.data["proof"]) == ("I am far away", "remote")
    assert "the prompt leaves the fleet, as allowed" in ran.stderr


# v1


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--keep-alive", "5m"), "--keep-alive"),
        (("--think",), "--think"),
        (("--no-think",), "--think"),
        (("--think-level", "low"), "--think"),
        (("--option", "num_ctx=8192"), "--option num_ctx"),
        (("--option", "mirostat=1"), "--option mirostat"),
    ],
)
def test_what_v1_cannot_carry_is_refused_before_sending(
    cli: Cli, serve: Serve, words: tuple[str, ...], named: str
) -> None:
    fake = serve("alpha")
    add(cli, "one", fake, tail="/v1")
    ran = cli.json("generate", "-s", "one", "-m", "alpha", "hi", *words)
    assert ran.failure == (2, "invalid_input")
    assert f"cannot carry {named}" in ran.error["message"]
    assert "native" in ran.error["hint"]
    assert asked(fake) == []


def test_v1_server_that_cannot_carry_an_option_is_passed_over_and_named(
    cli: Cli, serve: Serve
) -> None:
    add(cli, "v1", serve("alpha"), "--default", tail="/v1")
    add(cli, "native", serve("alpha"))
    ran = cli.json("generate", "-m", "alpha", "--option", "num_ctx=2048", "hi")
    assert ran.data["server"]["name"] == "native"
    assert ran.stderr == "note: server v1 is passed over: v1 cannot carry --option num_ctx\n"


def test_v1_carries_what_it_can(cli: Cli, serve: Serve, tmp_path: Path) -> None:
    fake = serve(SEES)
    add(cli, "one", fake, tail="/v1")
    (tmp_path / "a.png").write_bytes(PNG)
    options = [
        "temperature=0.5",
        "top_p=0.9",
        "seed=1",
        "stop=END",
        "presence_penalty=0.1",
        "frequency_penalty=0.2",
    ]
    words = [word for option in [*options, "num_predict=3"] for word in ("--option", option)]
    ran = cli(
        "generate",
        "hi",
        "-m",
        "alpha",
        "--system",
        "be brief",
        "--image",
        "a.png",
        "--format",
        "json",
        *words,
    )
    assert (ran.exit_code, ran.stdout) == (0, "I am alpha")
    [body] = asked(fake)
    image = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    content = [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": image}}]
    assert body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": content},
    ]
    assert body["response_format"] == {"type": "json_object"}
    assert (body["max_tokens"], body["stop"], body["seed"]) == (3, ["END"], 1)
    assert (body["temperature"], body["top_p"]) == (0.5, 0.9)
    assert (body["presence_penalty"], body["frequency_penalty"]) == (0.1, 0.2)


# what is sent


def test_request_holds_what_was_asked_and_nothing_else(sqlite_cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    add(sqlite_cli, "one", fake)
    assert sqlite_cli("generate", "-m", "alpha", " say\thi ").exit_code == 0
    assert asked(fake) == [
        {
            "model": "alpha:latest",
            "stream": True,
            "truncate": False,
            "shift": False,
            "prompt": " say\thi ",
        }
    ]


def test_every_option_reaches_the_server(sqlite_cli: Cli, serve: Serve, tmp_path: Path) -> None:
    fake = serve(SEES)
    add(sqlite_cli, "one", fake)
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff")
    words = [
        "--system",
        "be brief",
        "--image",
        "a.png",
        "--image",
        "b.jpg",
        "--format",
        "json",
        "--keep-alive",
        "5m",
    ]
    options = [
        "num_ctx=2048",
        "temperature=1",
        "use_mmap=true",
        "stop=a",
        'stop=["b","c"]',
        "stop=1",
        "seed=-1",
    ]
    words += [word for option in options for word in ("--option", option)]
    assert sqlite_cli("generate", "-m", "alpha", "hi", "--allow-truncate", *words).exit_code == 0
    assert asked(fake) == [
        {
            "model": "alpha:latest",
            "stream": True,
            "prompt": "hi",
            "system": "be brief",
            "images": [base64.b64encode(PNG).decode(), "/9j/"],
            "format": "json",
            "keep_alive": "5m",
            "options": {
                "num_ctx": 2048,
                "temperature": 1,
                "use_mmap": True,
                "stop": ["a", "b", "c", "1"],
                "seed": -1,
            },
        }
    ]


@pytest.mark.parametrize(
    ("given", "sent"), [("0", 0), ("-1", -1), ("300", 300), ("1h30m", "1h30m"), ("-1m", "-1m")]
)
def test_keep_alive_is_seconds_or_a_duration(
    sqlite_cli: Cli, serve: Serve, given: str, sent: int | str
) -> None:
    fake = serve("alpha")
    ran = sqlite_cli(
        "generate", "--server-url", fake.url, "-m", "alpha", "hi", "--keep-alive", given
    )
    assert ran.exit_code == 0
    assert asked(fake)[0]["keep_alive"] == sent


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (("--think",), True),
        (("--no-think",), False),
        (("--think-level", "high"), "high"),
        (("--think", "--think-level", "low"), "low"),
    ],
)
def test_thinking_is_asked_for_by_chat(
    sqlite_cli: Cli, serve: Serve, words: tuple[str, ...], sent: bool | str
) -> None:
    fake = serve(SEES)
    ran = sqlite_cli.json(
        "generate", "--server-url", fake.url, "-m", "alpha", "--system", "be brief", "hi", *words
    )
    assert ran.data["thinking"] == ("let me think" if sent else "")
    [body] = asked(fake, "/api/chat")
    assert body["think"] == sent
    assert body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
    ]


def test_format_may_be_a_file_with_a_schema(sqlite_cli: Cli, serve: Serve, tmp_path: Path) -> None:
    fake = serve("alpha")
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    words = ("generate", "-m", "alpha", "hi", "--format", "schema.json")
    assert sqlite_cli(*words, "--server-url", fake.url).exit_code == 0
    assert sqlite_cli(*words, "--server-url", f"{fake.url}/v1").exit_code == 0
    native, v1 = asked(fake)
    assert native["format"] == schema
    assert v1["response_format"]["json_schema"]["schema"] == schema


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff", b"[" * 100_000])
def test_format_file_without_a_schema_is_refused(
    sqlite_cli: Cli, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "schema.json").write_bytes(content)
    ran = sqlite_cli.json("generate", "-m", "alpha", "hi", "--format", "schema.json")
    assert ran.failure == (2, "invalid_input")
    assert "schema.json" in ran.error["message"]


@pytest.mark.parametrize("name", [".", "empty.png", "/dev/zero", "missing.png"])
def test_image_that_is_no_file_is_refused(sqlite_cli: Cli, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.png").touch()
    ran = sqlite_cli.json("generate", "-m", "alpha", "hi", "--image", name)
    assert ran.failure == (2, "invalid_input")
    assert name in ran.error["message"]


def test_image_longer_than_the_limit_is_refused(
    sqlite_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ollama_admin.cli.request_options.FILE_LIMIT", 8)
    (tmp_path / "a.png").write_bytes(PNG)
    assert (
        "longer than"
        in sqlite_cli.json("generate", "-m", "alpha", "hi", "--image", "a.png").error["message"]
    )


@pytest.mark.parametrize(
    "option",
    [
        *(
            "num_ctx=",
            "num_ctx=many",
            "num_ctx=1.5",
            "num_ctx=true",
            "temperature=hot",
            "temperature=NaN",
            "top_p=Infinity",
        ),
        *("use_mmap=1", "stop=[1]", "=1", "\x00=1", "a"),
    ],
)
def test_option_of_the_wrong_kind_is_refused(sqlite_cli: Cli, option: str) -> None:
    assert sqlite_cli.json("generate", "-m", "alpha", "hi", "--option", option).failure == (
        2,
        "invalid_input",
    )


def test_option_given_twice_is_refused(sqlite_cli: Cli) -> None:
    ran = sqlite_cli.json(
        "generate", "-m", "alpha", "hi", "--option", "seed=1", "--option", "seed=2"
    )
    assert ran.error["message"] == "option seed is given twice"


def test_option_that_ollama_does_not_know_is_sent_and_named(sqlite_cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    ran = sqlite_cli(
        "generate", "--server-url", fake.url, "-m", "alpha", "hi", "--option", "mirostat=2"
    )
    assert (ran.exit_code, ran.stdout) == (0, "I am alpha")
    assert "note: Ollama is not known to read option mirostat" in ran.stderr
    assert asked(fake)[0]["options"] == {"mirostat": 2}


# the whole prompt


def test_prompt_that_does_not_fit_is_an_error_with_both_numbers(
    sqlite_cli: Cli, serve: Serve
) -> None:
    fake = serve("alpha", context=16)
    ran = sqlite_cli.json("generate", "--server-url", fake.url, "-m", "alpha", "word " * 20)
    assert ran.failure == (6, "prompt_too_long")
    assert "20 tokens, the context has 16" in ran.error["message"]
    assert "--option num_ctx=N" in ran.error["hint"]


def test_prompt_may_be_cut_when_that_is_allowed(sqlite_cli: Cli, serve: Serve) -> None:
    fake = serve("alpha", context=16)
    ran = sqlite_cli.json(
        "generate", "--server-url", fake.url, "-m", "alpha", "word " * 20, "--allow-truncate"
    )
    assert (ran.data["response"], ran.data["truncated"]) == ("I am alpha", None)


def test_prompt_that_an_old_server_cut_draws_a_warning(sqlite_cli: Cli, serve: Serve) -> None:
    fake = serve("alpha", context=16, version="0.9.6")
    words = ("generate", "--server-url", fake.url, "-m", "alpha", "--option", "num_ctx=16")
    ran = sqlite_cli.json(*words, "word " * 20)
    assert ran.data["truncated"] is True
    assert "the prompt was probably cut" in ran.stderr
    assert sqlite_cli.json(*words, "hi").data["truncated"] is None


def test_model_that_was_only_loaded_is_no_answer(sqlite_cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    loaded = {"model": "alpha:latest", "response": "", "done": True, "done_reason": "load"}
    fake.call(lambda: fake.fakes[0].script("/api/generate", Answer(200, loaded)))
    ran = sqlite_cli.json("generate", "--server-url", fake.url, "-m", "alpha", "hi")
    assert ran.failure == (6, "upstream_error")
    assert "it did not read the prompt, and says 'load'" in ran.error["message"]


def test_timeout_bounds_the_look_for_a_cut_prompt_and_keeps_the_answer(
    sqlite_cli: Cli, serve: Serve
) -> None:
    fake = serve(SimulatedModel("alpha", context_length=8192), version="0.12.5")
    silence = Silence()
    fake.call(lambda: fake.fakes[0].script_always("/api/ps", silence))
    words = ("generate", "--server-url", fake.url, "-m", "alpha", "word " * 5000)
    data = sqlite_cli.json(*words, "--timeout", "2.5").data
    assert (data["truncated"], data["proof"]) == (None, "digest")
    assert silence.arrived.is_set()


def test_timeout_bounds_the_whole_answer(sqlite_cli: Cli, serve: Serve) -> None:
    fake = serve(
        SimulatedModel("alpha", endless=True, says="one two"), token_delay=0.02, context=2048
    )
    ran = sqlite_cli("generate", "--server-url", fake.url, "-m", "alpha", "hi", "--timeout", "0.3")
    assert ran.exit_code == 6
    assert "--timeout" in ran.stderr
    fake.run(fake.fakes[0].client_left.wait(), SECONDS)


# images


@pytest.mark.parametrize("content", [b"not an image", b"%PDF-1.7", b"RIFF\x00\x00\x00\x00WAVEfmt "])
def test_a_file_that_is_no_image_is_refused_before_anything_is_sent(
    sqlite_cli: Cli, serve: Serve, tmp_path: Path, content: bytes
) -> None:
    fake = serve("alpha")
    (tmp_path / "a.png").write_bytes(content)
    ran = sqlite_cli.json(
        "generate", "--server-url", fake.url, "-m", "alpha", "--image", "a.png", "hi"
    )
    assert ran.failure == (2, "invalid_input")
    assert ran.error["message"] == (
        "image a.png is not an image: it is not PNG, JPEG, GIF, WebP or BMP"
    )
    assert fake.requests() == []


@pytest.mark.parametrize("who", [(), ("-s", "one")], ids=["fleet", "named"])
@pytest.mark.parametrize("explain", [(), ("--explain",)], ids=["answer", "explain"])
def test_an_image_for_a_model_without_vision_is_refused_with_what_has_it(
    cli: Cli, serve: Serve, tmp_path: Path, who: tuple[str, ...], explain: tuple[str, ...]
) -> None:
    fake = serve("alpha", SimulatedModel("llava:7b", capabilities=("completion", "vision")))
    add(cli, "one", fake)
    (tmp_path / "a.png").write_bytes(PNG)
    ran = cli("generate", *who, *explain, "-m", "alpha", "--image", "a.png", "hi")
    said = ran.stdout + ran.stderr
    assert "takes no images" in said
    assert "these take images: llava:7b" in said or explain
    assert ran.exit_code == (0 if explain else 2)
    assert asked(fake) == []
    if not explain:
        assert cli("generate", *who, "-m", "llava:7b", "--image", "a.png", "hi").exit_code == 0


def test_an_image_goes_to_the_server_whose_build_takes_images(
    cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    blind, seeing = serve("alpha"), serve(SEES)
    add(cli, "blind", blind)
    add(cli, "seeing", seeing)
    (tmp_path / "a.png").write_bytes(PNG)
    ran = cli("generate", "-m", "alpha", "--image", "a.png", "hi")
    assert ran.exit_code == 0
    assert "server blind is passed over: its model takes no images" in ran.stderr
    assert (len(asked(blind)), len(asked(seeing))) == (0, 1)


def test_an_image_goes_to_a_model_of_which_nothing_is_known(
    sqlite_cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    fake = serve(SEES)
    (tmp_path / "a.png").write_bytes(PNG)
    words = ("generate", "--server-url", fake.url, "-m", "alpha", "--image", "a.png", "hi")
    assert sqlite_cli(*words).exit_code == 0
    assert len(asked(fake)) == 1


def test_credentials_without_a_url_are_refused_before_a_secret_is_asked_for(
    sqlite_cli: Cli,
) -> None:
    ran = sqlite_cli.json("generate", "--auth", "bearer", "-m", "alpha", "hi")
    assert ran.failure == (2, "invalid_input")
    assert ran.error["message"] == "credentials are given without --server-url"
