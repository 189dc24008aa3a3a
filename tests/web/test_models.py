"""Models: the matrix, one model, and what is done with it at servers."""

from typing import Any

import pytest

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.pulling import Registry
from tests.api.conftest import Serve, register
from tests.api.service import Service
from tests.fake_ollama import Answer
from tests.store.revisions import execute
from tests.web.browsing import new_key, signed_in
from tests.web.shown import text_of

ALPHA = "/ui/models/show?model=alpha"


def test_models_stand_beside_servers_with_their_builds_in_words(api: Service, fakes: Serve) -> None:
    assert api.opened is not None
    register(api, fakes("alpha", "beta"), fakes(SimulatedModel("alpha", digest="b" * 64), "gamma"))
    with signed_in(api) as person:
        text = text_of(person.get("/ui/models").text)
        assert "alpha:latest 2 builds differ" in text
        assert "build A" in text
        assert "build B" in text
        assert "held" in text
        only = text_of(person.get("/ui/models?server=two").text)
        assert "gamma" in only
        assert "beta" not in only
        assert "gamma" not in person.get("/ui/models?q=ALPH").text
        api.run(api.opened.pins.set("alpha", digest="b" * 64))
        pinned = text_of(person.get("/ui/models?q=alpha").text)
        assert "pinned to bbbbbbbbbbbb" in pinned
        assert "not the pinned build" in pinned
        assert "No model is found so" in person.get("/ui/models?q=none").text


def test_an_empty_catalogue_says_what_to_do_first(sqlite_api: Service) -> None:
    with signed_in(sqlite_api) as person:
        assert "No model is known yet" in person.get("/ui/models").text


def test_both_sides_of_the_matrix_are_shown_a_page_at_a_time(api: Service, fakes: Serve) -> None:
    assert api.opened is not None
    many = [f"model-{number:02}" for number in range(45)]
    register(api, fakes(*many))
    for number in range(9):
        api.run(api.opened.servers.add(name=f"gpu-{number}", url=f"http://10.0.0.{number}"))
    with signed_in(api) as person:
        first, second = (person.get(f"/ui/models?at={at}").text for at in (1, 2))
        assert "model-39" in first
        assert "model-40" in second
        assert "model-39" not in second
        assert "page 2 of 2, 45 in all" in text_of(second)
        assert "page 1 of 2, 10 in all" in text_of(first)
        assert "server_at=2" in first
        assert "model-40" in person.get("/ui/models?at=99&server_at=99").text


def test_a_key_sees_what_it_may_ask(api: Service, fakes: Serve) -> None:
    register(api, fakes("alpha", "beta"), fakes("alpha"))
    key = new_key(api, can=["read"], models=["alpha*"], servers=["two"])
    with signed_in(api, key) as person:
        text = text_of(person.get("/ui/models").text)
        assert "alpha" in text
        assert "beta" not in text
        assert " one " not in text


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a\u202eb", "x" * 300])
def test_the_name_of_a_model_is_text(
    api: Service, fakes: Serve, database_url: str, name: str
) -> None:
    register(api, fakes("alpha"))
    execute(database_url, f"UPDATE ollama_models SET name = '{name}'")
    with signed_in(api) as person:
        answers = [
            person.get("/ui/models"),
            person.http.get("/ui/models/show", params={"model": name}),
        ]
        for answer in answers:
            assert answer.status_code == 200
            assert "<script>alert" not in answer.text
            assert "\u202e" not in answer.text


def test_a_pull_shows_how_far_it_is_and_what_came(api: Service, fakes: Serve) -> None:
    fake = fakes("alpha", registry=Registry([SimulatedModel("beta")]))
    [server_id] = register(api, fake)
    with signed_in(api) as person:
        fields = {"model": "beta", "servers": str(server_id)}
        answer = person.send("/ui/models/pull", fields)
        assert answer.status_code == 200
        text = text_of(answer.text)
        assert "All 1 have it." in text
        assert text.endswith("To beta")
        assert "beta" in person.get("/ui/models").text


def test_a_pull_that_fails_says_so_on_the_page(api: Service, fakes: Serve) -> None:
    register(api, fakes("alpha"))
    with signed_in(api) as person:
        text = text_of(person.send("/ui/models/pull", {"model": "none", "servers": "every"}).text)
        assert "1 of 1 failed." in text
        bad = person.send("/ui/models/pull", {"model": "beta", "digest": "xyz", "servers": "every"})
        assert bad.status_code == 422
        nowhere = person.send("/ui/models/pull", {"model": "beta"})
        assert nowhere.status_code == 422
        assert "no server is named" in nowhere.text


def test_a_model_is_loaded_and_let_go(api: Service, fakes: Serve) -> None:
    [server_id] = register(api, fakes("alpha"))
    with signed_in(api) as person:
        query = f"?model=alpha&server={server_id}"
        loaded = person.send(f"/ui/models/load{query}")
        assert "one: alpha loaded" in text_of(loaded.text)
        unloaded = person.send(f"/ui/models/unload{query}")
        assert unloaded.headers["location"] == ALPHA
        assert "one: alpha unloaded" in text_of(person.get(ALPHA).text)


def test_a_model_is_removed_once_it_was_told_what_breaks(api: Service, fakes: Serve) -> None:
    assert api.opened is not None
    fake = fakes("alpha", "beta")
    [server_id] = register(api, fake)
    api.run(api.opened.servers.update("one", default_model="alpha"))
    with signed_in(api) as person:
        fields = {"model": "alpha", "servers": str(server_id)}
        asked = person.send("/ui/models/remove", fields)
        assert "This deletes alpha at one." in text_of(asked.text)
        assert "It breaks:" in asked.text
        assert not fake.call(lambda: fake.fakes[0].requests_to("/api/delete"))
        done = person.send("/ui/models/remove", fields | {"sure": "yes"})
        assert done.status_code == 303
        assert "one: alpha removed" in text_of(person.get(ALPHA).text)
        assert "No active server is known to hold alpha" in person.get(ALPHA).text


def test_a_server_that_refuses_to_load_is_told(api: Service, fakes: Serve) -> None:
    fake = fakes("alpha")
    [server_id] = register(api, fake)
    refused: Any = Answer(status=500, body={"error": "out of memory"})
    fake.call(lambda: fake.fakes[0].script_always("/api/generate", refused))
    with signed_in(api) as person:
        answer = person.send(f"/ui/models/load?model=alpha&server={server_id}")
        assert "one: " in text_of(answer.text)
        assert "out of memory" in text_of(answer.text)
