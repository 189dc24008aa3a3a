"""What no server could answer as asked is refused before anything is sent; the rest is sent exactly
as asked.
"""

import base64
import dataclasses
import json
import math
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ollama_admin.domain.callers import OWNER, Caller, Way
from ollama_admin.domain.requests import EmbedRequest, GenerateRequest, Question, Route, Terms
from ollama_admin.domain.servers import ApiVersion
from ollama_admin.errors import InvalidInput
from ollama_admin.ollama.calls import call
from ollama_admin.rules import v1
from ollama_admin.rules.request_checks import (
    OPTION_TYPES,
    check_keep_alive,
    checked,
    checked_embed,
    decoded_image,
    unknown_options,
)

CALLER = Caller(way=Way.PYTHON, rights=OWNER)

PNG = b"\x89PNG\r\n\x1a\n"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


def request(**asked: Any) -> GenerateRequest:
    return GenerateRequest(**{"prompt": "hi", **asked})


def sent_by(asked: Question, version: ApiVersion = ApiVersion.NATIVE) -> Any:
    """The body that arrives when the model m is asked."""
    return json.loads(call(asked, "m", version).body)


def refusal(asked: GenerateRequest) -> str:
    with pytest.raises(InvalidInput) as caught:
        checked(asked, CALLER)
    assert caught.value.message.isprintable()
    return caught.value.message


def test_a_request_is_what_is_said_who_may_answer_and_the_terms() -> None:
    nouns = (Question, Route, Terms)
    names = [field.name for noun in nouns for field in dataclasses.fields(noun)]
    assert len(set(names)) == len(names)
    assert {field.name for field in dataclasses.fields(GenerateRequest)} == set(names)


def test_nothing_but_what_is_said_is_in_the_question() -> None:
    asked = request(
        model="m", server_url="http://h", auth_config={"token": "t"}, digest="a" * 12, think=True
    )
    assert asked.question() == Question(prompt="hi", think=True)
    assert asked.route() == Route(model="m", server_url="http://h", auth_config={"token": "t"})
    assert asked.terms() == Terms(digest="a" * 12)


def test_the_checked_request_has_each_noun_and_what_v1_cannot_carry() -> None:
    asked = request(model="Alpha", server="gpu", digest="a" * 12, images=(PNG,), think=False)
    made = checked(asked, CALLER)
    assert made.name is not None
    assert (made.name.text, made.caller) == ("Alpha", CALLER)
    assert (made.route, made.terms) == (asked.route(), asked.terms())
    assert (made.cannot_carry, made.needs_vision) == ({ApiVersion.V1: "--think"}, True)
    of_ollama = checked(asked, CALLER, needs_content=False)
    assert (of_ollama.cannot_carry, of_ollama.needs_vision) == ({}, False)
    unnamed = checked(request(), CALLER)
    assert (unnamed.name, unnamed.cannot_carry, unnamed.needs_vision) == (None, {}, False)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"input": ()}, "a text is empty"),
        ({"input": ("a", "")}, "a text is empty"),
        ({"input": (1,)}, "input[0] is of type int, not text"),
        ({"input": ("\ud800",)}, "the text is not UTF-8 text (character 1)"),
        ({"dimensions": 0}, "the number of dimensions must be 1 or more"),
        ({"options": {"num_ctx": "a"}}, "option num_ctx must be a whole number"),
        ({"keep_alive": "soon"}, "keep-alive 'soon' is not a duration"),
        ({"timeout": 0}, "the timeout must be greater than 0 seconds"),
        ({"model": ""}, "the model name is empty"),
    ],
)
def test_a_wish_for_vectors_that_no_server_could_fulfil_is_refused(
    asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        checked_embed(EmbedRequest(**({"input": ("a",)} | asked)), CALLER)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("asked", "lacks"),
    [
        ({"dimensions": 1}, {}),
        ({"keep_alive": 5}, {ApiVersion.V1: "--keep-alive"}),
        ({"keep_alive": 5, "options": {"num_ctx": 8}}, {ApiVersion.V1: "--option num_ctx"}),
    ],
)
def test_a_wish_for_vectors_has_each_noun_and_what_v1_cannot_carry(
    asked: dict[str, Any], lacks: dict[ApiVersion, str]
) -> None:
    wish = EmbedRequest(model="Alpha", server="gpu", input=("a", "b"), digest="a" * 12, **asked)
    made = checked_embed(wish, CALLER)
    assert made.name is not None
    assert (made.name.text, made.caller) == ("Alpha", CALLER)
    assert (made.route, made.terms) == (wish.route(), wish.terms())
    assert (made.cannot_carry, made.needs_vision) == (lacks, False)
    assert checked_embed(EmbedRequest(input=("a",)), CALLER).name is None


@pytest.mark.parametrize("version", list(ApiVersion))
def test_neither_route_nor_terms_go_to_a_server(version: ApiVersion) -> None:
    asked = request(server="gpu", headers={"X-Key": "secret"}, digest="a" * 12, wait=1)
    assert call(asked, "m", version) == call(Question(prompt="hi"), "m", version)


@pytest.mark.parametrize(
    "asked",
    [
        request(),
        request(prompt="\x00 \u2028 🚀"),
        request(model="m", server="s"),
        request(model="m", server=7),
        request(model="m", server_url="http://h"),
        request(capability="vision"),
        request(system=""),
        request(timeout=0.001),
        request(format="json"),
        request(format={}),
        request(format=MappingProxyType(SCHEMA)),
        request(
            options={
                "temperature": 0,
                "top_p": 0.5,
                "num_ctx": 8192,
                "stop": ["a", "b"],
                "use_mmap": False,
            }
        ),
        request(options={"mirostat": 2, "x": [1, {"y": None}]}),
        request(keep_alive=-1),
        request(keep_alive="1h30m"),
    ],
    ids=repr,
)
def test_what_can_be_asked_is_accepted(asked: GenerateRequest) -> None:
    checked(asked, CALLER)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (request(prompt=""), "the prompt is empty"),
        (request(prompt="ab\udc80"), "the prompt is not UTF-8 text (character 3)"),
        (request(system="\ud800"), "the system text is not UTF-8 text (character 1)"),
        (request(model=""), "the model name is empty"),
        (request(model=" m"), "has a space at its ends"),
        (request(server="s", server_url="h"), "--server and --server-url are given together"),
        (request(server="s", capability="c"), "--server and --capability are given together"),
        (
            request(server_url="h", capability="c"),
            "--server-url and --capability are given together",
        ),
        (
            request(server="s", server_url="h", capability="c"),
            "--server, --server-url and --capability are given together",
        ),
        (request(server=0, server_url="h"), "--server and --server-url are given together"),
        (request(timeout=0), "timeout must be greater than 0"),
        (request(timeout=-1), "timeout must be greater than 0"),
        (request(timeout=math.nan), "timeout must be greater than 0"),
        (request(format="yaml"), "format 'yaml' is neither json nor a JSON schema"),
        (request(format={"a": "\udc80"}), "the JSON schema cannot be written as JSON"),
        (request(format={"a": math.inf}), "the JSON schema cannot be written as JSON"),
        (request(keep_alive="soon"), "is not a duration"),
        (request(keep_alive=""), "is not a duration"),
        (request(keep_alive=math.nan), "is not a duration"),
        (request(keep_alive=-math.inf), "is not a duration"),
        (request(suffix="\udc80"), "the suffix is not UTF-8 text"),
        (request(template="a\ud800"), "the template is not UTF-8 text (character 2)"),
        (request(context=(1, math.inf)), "context[1] is of type float, not a whole number"),
        (request(raw=True, think=False), "both raw and think are given"),
        (request(suffix="}", think="high"), "both suffix and think are given"),
        (request(tools=({"type": "function"},)), "tools are given without messages"),
        (request(options={"": 1}), "option name"),
        (request(options={"a\n": 1}), "option name"),
        (request(options={"num_ctx": "8192"}), "option num_ctx must be a whole number, not '8192'"),
        (request(options={"num_ctx": 1.5}), "option num_ctx must be a whole number, not 1.5"),
        (request(options={"seed": True}), "option seed must be a whole number, not True"),
        (request(options={"temperature": "hot"}), "option temperature must be a number"),
        (request(options={"temperature": False}), "option temperature must be a number"),
        (
            request(options={"temperature": math.nan}),
            "option temperature cannot be written as JSON",
        ),
        (request(options={"use_mmap": 1}), "option use_mmap must be true or false"),
        (request(options={"stop": "a"}), "option stop must be a list of strings"),
        (request(options={"stop": ["a", 1]}), "option stop must be a list of strings"),
        (request(options={"stop": ["\ud800"]}), "option stop cannot be written as JSON"),
        (request(options={"mirostat": math.inf}), "option mirostat cannot be written as JSON"),
    ],
    ids=repr,
)
def test_what_no_server_could_answer_is_refused(asked: GenerateRequest, reason: str) -> None:
    assert reason in refusal(asked)


WHOLE_NUMBERS = """num_keep seed num_predict top_k repeat_last_n num_ctx num_batch num_gpu main_gpu
num_thread draft_num_predict"""
NUMBERS = """top_p min_p typical_p temperature repeat_penalty presence_penalty frequency_penalty"""


def test_every_option_of_ollama_is_checked_for_its_type() -> None:
    assert dict(OPTION_TYPES) == {
        **dict.fromkeys(WHOLE_NUMBERS.split(), int),
        **dict.fromkeys(NUMBERS.split(), float),
        "use_mmap": bool,
        "stop": list,
    }


def conversation(*messages: Any, **asked: Any) -> GenerateRequest:
    return GenerateRequest(**{"messages": messages, **asked})


ENCODED = base64.b64encode(PNG).decode()
SAID = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    "asked",
    [
        conversation(SAID),
        conversation(SAID | {"images": [ENCODED]}),
        conversation(SAID | {"images": []}),
        conversation({"role": "assistant", "content": None}),
        conversation({"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}),
        conversation(SAID, tools=({"type": "function"},)),
    ],
    ids=repr,
)
def test_a_conversation_is_accepted_as_ollama_takes_it(asked: GenerateRequest) -> None:
    checked(asked, CALLER)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (conversation(SAID, prompt="hi"), "messages are given beside a prompt"),
        (conversation(SAID, system="be brief"), "messages are given beside a prompt"),
        (conversation(SAID, images=(PNG,)), "messages are given beside a prompt"),
        (conversation(), "there are no messages"),
        (conversation(SAID, {"content": "hi"}), "messages[1] has no role"),
        (conversation({"role": "", "content": "hi"}), "messages[0] has no role"),
        (conversation({"role": 1, "content": "hi"}), "messages[0] has no role"),
        (conversation({"role": "user", "content": 1}), "the content of messages[0] is not text"),
        (conversation(SAID | {"images": ENCODED}), "images of messages[0]: not an image in base64"),
        (conversation(SAID | {"images": ["$$$$"]}), "images of messages[0]: not an image"),
        (conversation(SAID | {"images": [None]}), "images of messages[0]: not an image"),
        (conversation(SAID | {"x": math.nan}), "messages[0] cannot be written as JSON"),
        (conversation(SAID, tools=({"x": math.nan},)), "the tools cannot be written as JSON"),
        (conversation(SAID, raw=True), "raw is given beside messages"),
        (conversation(SAID, context=(1,)), "context is given beside messages"),
        (request(wait=-1), "the time to wait must be 0 seconds or more"),
        (request(wait=math.nan), "the time to wait must be 0 seconds or more"),
        (request(digest="abc"), "digest 'abc' is not 12 to 64 hex digits"),
        (request(auth_type="none"), "credentials are given without --server-url"),
        (request(auth_config={}), "credentials are given without --server-url"),
        (request(headers={}), "credentials are given without --server-url"),
        (request(verified=True, no_verify=True), "--verified and --no-verify are given together"),
        (request(digest="a" * 12, verified=True), "--digest and --verified are given together"),
        (request(digest="a" * 12, no_verify=True), "--digest and --no-verify are given together"),
    ],
    ids=repr,
)
def test_what_is_given_wrongly_or_twice_is_refused(asked: GenerateRequest, reason: str) -> None:
    assert reason in refusal(asked)


@pytest.mark.parametrize("text", [f" {ENCODED}", ENCODED.rstrip("="), "iVBORx==", "", "é", 7, None])
def test_an_image_has_one_spelling(text: object) -> None:
    assert decoded_image("it", ENCODED) == PNG
    with pytest.raises(InvalidInput, match=r"^it: not an image in base64$"):
        decoded_image("it", text)


def test_what_was_asked_exactly_at_a_limit_is_accepted() -> None:
    for asked in (
        request(wait=0),
        request(timeout=0.5),
        request(digest="a" * 12),
        request(verified=True),
        request(no_verify=True),
        request(server_url="http://h", auth_type="none", auth_config={}, headers={}),
    ):
        checked(asked, CALLER)
    for empty in (request(prompt=""), conversation()):
        checked(empty, CALLER, needs_content=False)


@pytest.mark.parametrize("value", [0, -1, 300, "5m", "1h30m", "1.5h", "-1s", "100ms", "0s", "10µs"])
def test_a_keep_alive_is_seconds_or_a_duration(value: int | str) -> None:
    check_keep_alive(value)


@pytest.mark.parametrize("value", ["", "5", "5 m", "m", "5d", "5m\n", "five", "--1s"])
def test_another_keep_alive_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput):
        check_keep_alive(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(
    st.text(max_size=10),
    st.dictionaries(
        st.sampled_from([*OPTION_TYPES, "mirostat"]) | st.text(max_size=3), JSON, max_size=3
    ),
    st.none() | st.just("json") | st.dictionaries(st.text(max_size=3), JSON, max_size=2),
)
@example("hi", {"stop": ["\ud800"]}, None)
def test_what_was_accepted_can_be_sent_and_arrives_unchanged(
    prompt: str, options: Any, form: Any
) -> None:
    asked = request(prompt=prompt, options=options, format=form)
    try:
        checked(asked, CALLER)
    except InvalidInput:
        return
    body = sent_by(asked)
    assert body["prompt"] == prompt
    assert body.get("options", {}) == options
    assert body.get("format") == form


def test_a_native_call_asks_for_the_whole_prompt_and_names_only_what_was_asked() -> None:
    sent = call(request().question().uncut(), "alpha:latest", ApiVersion.NATIVE)
    assert sent.path == "/api/generate"
    assert json.loads(sent.body) == {
        "model": "alpha:latest",
        "prompt": "hi",
        "stream": True,
        "truncate": False,
        "shift": False,
    }


def test_allowing_a_cut_leaves_the_fields_out() -> None:
    body = sent_by(request(think=True))
    assert "truncate" not in body
    assert "shift" not in body


def test_a_native_call_carries_everything_that_was_asked() -> None:
    asked = request(
        system="be brief",
        images=(PNG,),
        format=MappingProxyType(SCHEMA),
        options={"num_ctx": 8192},
        keep_alive=0,
    )
    body = sent_by(asked)
    assert body["system"] == "be brief"
    assert [base64.b64decode(image) for image in body["images"]] == [PNG]
    assert body["format"] == SCHEMA
    assert body["options"] == {"num_ctx": 8192}
    assert body["keep_alive"] == 0


@pytest.mark.parametrize("think", [True, False, "high"])
def test_a_call_with_think_goes_to_chat(think: bool | str) -> None:
    asked = request(system="be brief", images=(PNG,), think=think).uncut()
    sent = call(asked, "m", ApiVersion.NATIVE)
    assert sent.path == "/api/chat"
    body = json.loads(sent.body)
    assert body["think"] is think or body["think"] == think
    assert body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi", "images": [base64.b64encode(PNG).decode()]},
    ]
    assert (body["truncate"], body["shift"]) == (False, False)


def test_a_v1_call_carries_all_that_v1_can() -> None:
    options = {
        "temperature": 0.5,
        "top_p": 1,
        "seed": 7,
        "stop": ["x"],
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "num_predict": 3,
    }
    assert set(options) == set(v1.OPTIONS)
    asked = request(system="be brief", images=(PNG,), format=SCHEMA, options=options)
    assert v1.obstacle(asked) is None
    sent = call(asked, "m", ApiVersion.V1)
    image = {
        "type": "image_url",
        "image_url": {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"},
    }
    assert sent.path == "/v1/chat/completions"
    assert json.loads(sent.body) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "hi"}, image]},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": SCHEMA},
        },
        "temperature": 0.5,
        "top_p": 1,
        "seed": 7,
        "stop": ["x"],
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "max_tokens": 3,
    }


def test_a_v1_call_asks_for_json_in_its_own_words() -> None:
    body = sent_by(request(format="json"), ApiVersion.V1)
    assert body["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"BM", "image/bmp"),
        (b"RIFF", "image/webp"),
    ],
)
def test_a_v1_call_names_the_kind_of_an_image(image: bytes, kind: str) -> None:
    content = sent_by(request(images=(image,)), ApiVersion.V1)["messages"][0]["content"]
    assert content[1]["image_url"]["url"].startswith(f"data:{kind};base64,")


@pytest.mark.parametrize(
    ("asked", "obstacle"),
    [
        (request(keep_alive=0), "--keep-alive"),
        (request(think=False), "--think"),
        (request(options={"seed": 1, "num_ctx": 1}), "--option num_ctx"),
        (request(options={"mirostat": 1}), "--option mirostat"),
        (conversation(SAID, tools=({"type": "function"},)), "tools"),
        (request(prompt=""), "an empty prompt, which only loads the model"),
        (request(raw=True), "raw"),
        (conversation(SAID, SAID | {"tool_name": "f"}), "tool_name of a message"),
    ],
    ids=repr,
)
def test_v1_names_what_it_cannot_carry(asked: GenerateRequest, obstacle: str) -> None:
    assert v1.obstacle(asked) == obstacle


def test_v1_carries_a_conversation_with_images() -> None:
    assert v1.obstacle(conversation(SAID | {"images": [ENCODED]})) is None


def test_an_option_that_no_ollama_reads_is_named() -> None:
    assert unknown_options({"num_ctx": 1, "mirostat": 2, "NUM_CTX": 3}) == ["mirostat", "NUM_CTX"]
