"""Reasons that are given for what cannot be read, and what such a line still says."""

from pathlib import Path

import pytest

from ollama_admin.legacy import envfile, plan
from ollama_admin.legacy.reader import Legacy, read


def legacy(text: str, name: str = ".env") -> Legacy:
    Path(name).write_text(text)
    return read([envfile.read(Path(name))])


def whys(found: Legacy) -> dict[str, str | None]:
    return {skip.binding.key: skip.why for skip in found.skipped}


def test_a_key_of_open_webui_configs_that_is_no_url_is_named() -> None:
    found = legacy('OLLAMA_BASE_URLS=a;b\nOLLAMA_API_CONFIGS=\'{"http://a b": {"enable": false}}\'')
    assert "'http://a b' is not a server URL" in (whys(found)["OLLAMA_API_CONFIGS"] or "")
    assert found.errors[0].message.startswith(".env, line 2: OLLAMA_API_CONFIGS: ")


def test_a_value_that_cannot_be_filled_stays_with_the_environment_that_it_stands_in() -> None:
    nested = "${A:-" * 9 + "x" * (envfile.FILLED_LIMIT // 8) + "}" * 9
    text = (
        "a:\n  environment:\n    - OLLAMA_URL=http://a:11434\n"
        f"    - LONG={nested}\n    - OLLAMA_MODEL=m\n"
    )
    bindings = envfile.parse_compose(text, "c.yml")
    assert bindings[1].error is not None
    (scope,) = envfile.EnvFile(file="c.yml", bindings=bindings).scopes()
    assert [binding.key for binding in scope] == ["OLLAMA_URL", "LONG", "OLLAMA_MODEL"]


def test_a_line_that_cannot_be_read_still_mentions_the_lines_that_it_needs() -> None:
    size = envfile.FILLED_LIMIT // 4
    text = f"OLLAMA_URL=http://a:11434\nB={'x' * (size - 100)}\nC=${{OLLAMA_URL}}{'${B}' * 4}\n"
    found = read([envfile.EnvFile(file=".env", bindings=envfile.parse(text, ".env"))])
    assert [error.message for error in found.errors]
    assert plan.plan([], found, lambda _: {}).deletable == ()


@pytest.mark.parametrize("scheme", ["api_key", "api-key", "apikey"])
def test_an_auth_scheme_is_named_as_it_is_written(scheme: str) -> None:
    text = f"OLLAMA_URL=a\nOLLAMA_USERNAME=u\nOLLAMA_PASSWORD=p\nOLLAMA_AUTH_TYPE={scheme}"
    assert whys(legacy(text))["OLLAMA_PASSWORD"] == f"the auth scheme is {scheme}"
