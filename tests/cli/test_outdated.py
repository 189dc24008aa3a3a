"""`ollama-admin outdated`, with a registry of our own on loopback."""

from collections.abc import Iterator
from typing import Any

import pytest

from ollama_admin.simulator.http import Reply
from ollama_admin.simulator.model import SimulatedModel
from tests.cli.conftest import Serve
from tests.cli.running import Cli, Ran
from tests.cli.test_diff import discovered
from tests.cli.test_discover import NOWHERE
from tests.fake_ollama_thread import FakeOllamaThread
from tests.model_registry import (
    MANIFEST_LIST,
    ModelRegistry,
    digest_of,
    encoded,
    manifest_of,
)

LLAMA = "llama3.2:3b"
PATH = "/v2/library/llama3.2/manifests/3b"
OLD, NEW = manifest_of("old"), manifest_of("new")


@pytest.fixture
def registry() -> Iterator[FakeOllamaThread]:
    """It has the new build of llama3.2:3b."""
    with FakeOllamaThread(ModelRegistry(**{f"library/{LLAMA}": encoded(NEW)})) as thread:
        yield thread


def installed(name: str, manifest: Any, **how: Any) -> SimulatedModel:
    return SimulatedModel(name, digest_of(manifest, **how))


def outdated(cli: Cli, registry: FakeOllamaThread, *words: str) -> Ran:
    return cli.json("outdated", "--registry", registry.url, *words)


def test_a_build_that_the_registry_has_no_more_is_outdated(
    cli: Cli, serve: Serve, registry: FakeOllamaThread
) -> None:
    one, two = serve(installed(LLAMA, OLD)), serve(installed(LLAMA, NEW))
    discovered(cli, one=one.url, two=two.url)
    before = len(one.requests())
    assert outdated(cli, registry).data == {
        "results": [
            {
                "name": LLAMA,
                "registry": registry.url,
                "digest": digest_of(NEW),
                "state": "outdated",
                "pinned": None,
                "servers": [
                    {"server": "one", "digest": digest_of(OLD), "is_current": False},
                    {"server": "two", "digest": digest_of(NEW), "is_current": True},
                ],
                "error": None,
            }
        ],
        "failed": 0,
    }
    assert len(one.requests()) == before  # nothing is asked of servers, and nothing pulled
    ran = cli("outdated", "--registry", registry.url)
    assert [line.split() for line in ran.stdout.splitlines()] == [
        ["MODEL", "INSTALLED", "REGISTRY", "STATE", "ON"],
        [LLAMA, digest_of(OLD)[:12], digest_of(NEW)[:12], "outdated", "one"],
        [LLAMA, digest_of(NEW)[:12], digest_of(NEW)[:12], "current", "two"],
    ]


def test_only_the_name_goes_to_the_registry(
    cli: Cli, serve: Serve, registry: FakeOllamaThread
) -> None:
    discovered(cli, one=serve(installed(LLAMA, NEW)).url)
    outdated(cli, registry)
    [request] = registry.requests()
    assert (request.method, request.path, request.query, request.raw) == ("GET", PATH, "", b"")
    assert set(request.headers) == {"host", "accept", "accept-encoding", "user-agent"}


def test_nothing_outdated_is_a_note(cli: Cli, serve: Serve, registry: FakeOllamaThread) -> None:
    discovered(cli, one=serve(installed(LLAMA, NEW), "made-here").url)
    ran = cli("outdated", "--registry", registry.url)
    assert (ran.exit_code, ran.stdout, ran.stderr) == (
        0,
        "",
        "note: nothing is outdated of what the last discovery found\n",
    )
    states = {
        each["name"]: each["state"] for each in outdated(cli, registry, "--all").data["results"]
    }
    assert states == {LLAMA: "current", "made-here:latest": "missing"}


def test_a_build_pulled_by_an_old_ollama_is_current(
    cli: Cli, serve: Serve, registry: FakeOllamaThread
) -> None:
    """Before 0.19 it put the manifest together anew: hf.co's then has another digest."""
    fields = {"layers": NEW["layers"], "config": NEW["config"], "unknown": 1}
    loose = encoded(NEW | fields, indent=2, sort_keys=True)
    registry.call(lambda: registry.fakes[0].manifests.update({f"library/{LLAMA}": loose}))
    discovered(cli, one=serve(installed(LLAMA, NEW)).url)
    [result] = outdated(cli, registry, "--all").data["results"]
    assert (result["state"], result["servers"][0]["is_current"]) == ("current", True)


def test_a_list_of_manifests_is_one_build(
    cli: Cli, serve: Serve, registry: FakeOllamaThread
) -> None:
    """Ollama 0.40 keeps the list, which has a manifest for each kind of runner."""
    child = {"mediaType": "x", "digest": f"sha256:{digest_of(OLD)}", "runner": "mlx"}
    listed = {"schemaVersion": 2, "mediaType": MANIFEST_LIST, "manifests": [child]}
    registry.call(lambda: registry.fakes[0].lists.update({f"library/{LLAMA}": encoded(listed)}))
    discovered(cli, one=serve(installed(LLAMA, listed)).url, two=serve(installed(LLAMA, OLD)).url)
    [result] = outdated(cli, registry, "--all").data["results"]
    assert (result["state"], result["digest"]) == ("current", digest_of(listed))


def test_named_models_alone_are_asked_for(
    cli: Cli, serve: Serve, registry: FakeOllamaThread
) -> None:
    discovered(cli, one=serve(installed(LLAMA, OLD), "other", "llava").url)
    results = outdated(cli, registry, "LLAMA3.2:3b", "llama*", "--all").data["results"]
    assert [result["name"] for result in results] == [LLAMA]
    assert {request.path for request in registry.requests()} == {PATH}
    assert outdated(cli, registry, "llama3").failure == (3, "model_not_found")


def test_names_of_another_registry_are_not_asked_of_this_one(
    cli: Cli, serve: Serve, registry: FakeOllamaThread
) -> None:
    host = registry.url.removeprefix("http://")
    names = ("hf.co/Org/Model-GGUF:Q4_K_M", f"{host}/team/Mine:v1", "team/mine", "qwen:cloud")
    discovered(cli, one=serve(*names).url)
    results = outdated(cli, registry, "--all").data["results"]
    states = {result["name"]: result["state"] for result in results}
    assert states == {
        "hf.co/Org/Model-GGUF:Q4_K_M": "skipped",
        f"{host}/team/Mine:v1": "missing",
        "qwen:cloud": "skipped",
        "team/mine:latest": "missing",
    }
    assert sorted(request.path for request in registry.requests()) == [
        "/v2/team/Mine/manifests/v1",
        "/v2/team/mine/manifests/latest",
    ]


def test_without_its_registry_it_is_one_line_and_6(cli: Cli, serve: Serve) -> None:
    discovered(cli, one=serve(LLAMA, "llava", "qwen").url)
    ran = cli("outdated", "--registry", NOWHERE)
    assert (ran.exit_code, ran.stdout) == (6, "")
    error, hint = ran.stderr.splitlines()
    assert error == f"error: registry {NOWHERE} cannot be reached: connection refused"
    assert hint.startswith("hint: this command needs the registry")
    assert cli.json("outdated", "--registry", NOWHERE).failure == (6, "server_unreachable")


def test_a_failure_for_one_name_costs_the_others_nothing(
    cli: Cli, serve: Serve, registry: FakeOllamaThread
) -> None:
    refused = Reply(status=401, body=b'{"error":"Invalid username or password."}')
    answers = {"/v2/org/private/manifests/latest": refused}
    registry.call(lambda: registry.fakes[0].answers.update(answers))
    discovered(cli, one=serve(installed(LLAMA, OLD), "org/private").url)
    ran = outdated(cli, registry)
    assert ran.exit_code == 7
    states = {each["name"]: each["state"] for each in ran.json_of_any_end["results"]}
    assert states == {LLAMA: "outdated", "org/private:latest": "unknown"}
    assert ran.json_of_any_end["failed"] == 1
    said = cli("outdated", "--registry", registry.url).stderr
    assert "org/private:latest to nobody without credentials (401)" in said
    assert outdated(cli, registry, "org/private").failure == (6, "server_unauthorized")


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (Reply(body=b"<html><title>Log in</title>", content_type="text/html"), 6, "a web page"),
        (Reply(body=b"[]"), 6, "is no manifest"),
        (Reply(body=b'{"layers": 1}'), 6, "is no manifest"),
        (Reply(status=429, body=b"slow down"), 6, "answered 429"),
        (Reply(status=500, body=b""), 6, "answered 500"),
        (Reply(status=307, headers={"Location": "ftp://x/"}), 6, "is not followed"),
        (Reply(status=307, headers={"Location": "http://[x/"}), 6, "is not followed"),
        (Reply(status=307, headers={"Location": PATH}), 6, "more than 3 times"),
    ],
    ids=lambda value: getattr(value, "status", ""),
)
def test_what_is_no_registry_is_one_clear_line(
    sqlite_cli: Cli,
    serve: Serve,
    registry: FakeOllamaThread,
    reply: Reply,
    code: int,
    words: str,
) -> None:
    registry.call(lambda: registry.fakes[0].answers.update({PATH: reply}))
    discovered(sqlite_cli, one=serve(LLAMA).url)
    ran = sqlite_cli("outdated", LLAMA, "--registry", registry.url)
    assert (ran.exit_code, ran.stdout) == (code, "")
    error = ran.stderr.splitlines()[0]
    assert error.startswith(f"error: registry {registry.url}")
    assert words in error


def test_a_redirect_is_followed(sqlite_cli: Cli, serve: Serve, registry: FakeOllamaThread) -> None:
    """As hf.co leads to huggingface.co."""
    moved = Reply(status=307, headers={"Location": f"{registry.url}{PATH}?x=1"})
    with FakeOllamaThread(ModelRegistry()) as short:
        short.call(lambda: short.fakes[0].answers.update({PATH: moved}))
        discovered(sqlite_cli, one=serve(installed(LLAMA, NEW)).url)
        [result] = outdated(sqlite_cli, short, "--all").data["results"]
    assert (result["state"], result["registry"]) == ("current", short.url)
    assert registry.requests()[0].query == "x=1"


def test_a_pinned_build_is_marked(
    sqlite_cli: Cli, serve: Serve, registry: FakeOllamaThread
) -> None:
    discovered(sqlite_cli, one=serve(installed(LLAMA, OLD)).url)
    assert sqlite_cli("pin", "set", LLAMA).exit_code == 0
    assert "outdated, pinned" in sqlite_cli("outdated", "--registry", registry.url).stdout


@pytest.mark.parametrize("url", ["http://u:p@mirror", "ftp://mirror", "http://", "http://a b"])
def test_what_is_no_url_of_a_registry_is_refused(sqlite_cli: Cli, serve: Serve, url: str) -> None:
    discovered(sqlite_cli, one=serve(LLAMA).url)
    assert sqlite_cli.json("outdated", "--registry", url).failure == (2, "invalid_input")


def test_without_models_nothing_is_asked(cli: Cli, registry: FakeOllamaThread) -> None:
    assert outdated(cli, registry).data == {"results": [], "failed": 0}
    assert registry.requests() == []
