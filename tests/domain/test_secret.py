"""Secrets show themselves as asterisks wherever a value can end up, and references name only what
they may.
"""

import copy
import json
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_admin.documents import document
from ollama_admin.domain.requests import GenerateRequest
from ollama_admin.domain.secret import MASK, Reference, Secret, header_name
from ollama_admin.domain.servers import ApiVersion, AuthType, ServerRef, Target
from ollama_admin.errors import InvalidInput
from ollama_admin.services.upstream_auth import Auth
from ollama_admin.settings import Settings
from ollama_admin.vault import Keys

PLAIN = "hunter2 & Söhne"
SECRET = Secret(PLAIN)

WAYS: dict[str, Callable[[Secret], str]] = {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "format": format,
    "f-string": lambda secret: f"{secret}",
    "f-string with repr": lambda secret: f"{secret!r}",
    "f-string with a format": lambda secret: f"{secret:>40}",
    "str.format": "{}".format,
    "percent s": lambda secret: "%s" % secret,  # noqa: UP031
    "percent r": lambda secret: "%r" % (secret,),  # noqa: UP031
    "list": lambda secret: str([secret]),
    "dict": lambda secret: str({"token": secret}),
    "pprint": lambda secret: pprint.pformat({"token": secret}),
    "json with str as default": lambda secret: json.dumps(secret, default=str),
    "our documents": lambda secret: json.dumps(document({"token": secret})),
    "copy": lambda secret: str(copy.copy(secret)),
    "deepcopy": lambda secret: str(copy.deepcopy({"token": secret})),
    "exception": lambda secret: "".join(traceback.format_exception_only(ValueError(secret))),
    "credentials": lambda secret: repr(
        Auth(auth_type=AuthType.BEARER, secret=secret, headers={"X-Other": secret})
    ),
    "asdict": lambda secret: str(asdict(Auth(auth_type=AuthType.BEARER, secret=secret))),
    "target": lambda secret: repr(
        Target(
            ref=ServerRef(id=1, name="gpu", url="http://gpu"),
            api_version=ApiVersion.NATIVE,
            headers={"Authorization": secret},
            secrets=(secret,),
        )
    ),
    "keys": lambda secret: repr(Keys(source="here", keys=(secret,))),
    "settings": lambda secret: repr(
        Settings(database_url=f"postgresql://u:{PLAIN}@gpu/db", secret_key=secret, proxy=secret)
    ),
    "request": lambda secret: repr(
        GenerateRequest(prompt="hi", auth_config={"token": PLAIN}, headers={"X-Other": secret})
    ),
}


@pytest.mark.parametrize("shown", WAYS.values(), ids=WAYS)
def test_a_secret_is_shown_by_no_way_of_turning_it_into_text(
    shown: Callable[[Secret], str],
) -> None:
    text = shown(SECRET)
    assert "hunter2" not in text
    assert "hne" not in text


@given(st.text(min_size=1))
def test_what_is_shown_is_the_same_for_every_secret(plain: str) -> None:
    secret = Secret(plain)
    assert {repr(secret), str(secret), f"{secret}", f"{secret:x}", "%s" % secret} == {MASK}  # noqa: UP031


def test_a_log_record_with_a_secret_shows_asterisks(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("somebody").warning("token %s of %r", SECRET, {"token": SECRET})
    assert caplog.messages == [f"token {MASK} of {{'token': {MASK}}}"]


@pytest.mark.parametrize(
    "taken",
    [pickle.dumps, json.dumps, vars, dict, list],
    ids=["pickle", "json", "vars", "dict", "list"],
)
def test_a_secret_cannot_be_taken_apart(taken: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError) as caught:
        taken(SECRET)
    assert "hunter2" not in str(caught.value)


def test_secrets_are_compared_by_value_and_with_secrets_only() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert (bool(Secret("a")), bool(Secret(""))) == (True, False)


# references


def test_a_reference_is_written_as_it_is_read() -> None:
    assert str(Reference.parse("env:GPU_TOKEN")) == "env:GPU_TOKEN"
    assert str(Reference.parse("file:/run/secrets/gpu")) == "file:/run/secrets/gpu"


def test_a_file_is_named_by_its_whole_path(tmp_path: Path) -> None:
    assert Reference.parse("file:token").name == str(tmp_path / "token")
    assert Reference.parse("file:~/token").name == str(tmp_path / "home" / "token")


@pytest.mark.parametrize(
    "name",
    [
        "OLLAMA_ADMIN_SECRET_KEY",
        "OLLAMA_ADMIN_DATABASE_URL",
        "OLLAMA_ADMIN_X",
        "ollama_admin_secret_key",
    ],
)
def test_no_reference_names_a_setting_of_ours(name: str) -> None:
    with pytest.raises(InvalidInput, match="that is a setting of ollama-admin itself"):
        Reference.parse(f"env:{name}")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "env",
            "env:",
            "file:",
            "hunter2",
            "env:a-b",
            "env:1A",
            "env:A B",
            "env:A=hunter2",
            "ENV:A",
            "vault:a",
        ),
        *("env:A\n", "file:a\0b", " env:A"),
        "file:~nobody-of-that-name/token",
    ],
)
def test_what_names_neither_a_variable_nor_a_file_is_no_reference(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Reference.parse(text)
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"


# names of headers


@pytest.mark.parametrize("name", ["X-API-Key", "CF-Access-Client-Id", "Authorization", "x_y"])
def test_a_header_keeps_its_name(name: str) -> None:
    assert header_name(name) == name


@pytest.mark.parametrize("name", ["", "X Y", "X:Y", "X\r\nY", "X\0", "Ключ", "X-é"])
def test_what_http_cannot_name_is_no_header(name: str) -> None:
    with pytest.raises(InvalidInput, match="is not a header name"):
        header_name(name)


@pytest.mark.parametrize(
    "name", ["Host", "content-length", "Transfer-Encoding", "CONNECTION", "Accept-Encoding"]
)
def test_headers_that_frame_a_request_cannot_be_set(name: str) -> None:
    with pytest.raises(InvalidInput, match="HTTP itself uses it"):
        header_name(name)
