"""The page Keys: added with a text that is shown once, changed, rotated, revoked and removed."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from ollama_admin.domain.keys import Key
from tests.api.service import Service
from tests.web.browsing import Person, csrf_of, new_key, signed_in

FORM = {"name": "team", "can": ["ask", "read"], "weight": "2", "models": "llama*\n\nqwen*"}
BAD = ["<script>alert(1)</script>", '" onmouseover="alert(1)', "x" * 100]


def send(person: Person, path: str, page: str, fields: Mapping[str, Any], **changed: Any) -> Any:
    """Send the form of a page with what stands in it and what is changed."""
    html = person.get(page).text
    state = re.search(r'name="state" value="(\w*)"', html)
    hidden = {"csrf": csrf_of(html), "state": state[1] if state else ""}
    return person.http.post(path, data=hidden | dict(fields) | changed)


def key_of(service: Service, name: str = "team") -> Key:
    assert service.opened is not None
    return service.run(service.opened.keys.show(name))


def test_empty_page_says_what_a_key_is_for(sqlite_api: Service) -> None:
    with signed_in(sqlite_api) as person:
        html = person.get("/ui/keys").text
    assert "There is no key yet" in html
    assert 'href="/ui/keys/add"' in html


def test_text_of_a_new_key_is_shown_once_and_works(api: Service) -> None:
    with signed_in(api) as person:
        added = send(person, "/ui/keys/add", "/ui/keys/add", FORM)
        [text] = re.findall(r"oadm_[0-9a-f]{8}_[\w-]{43}", added.text)
        assert added.headers["cache-control"] == "no-store"
        assert api.url in added.text
        key = key_of(api)
        assert (list(key.can), list(key.models), key.weight) == (
            ["ask", "read"],
            ["llama*", "qwen*"],
            2,
        )
        for path in ("/ui/keys", f"/ui/keys/{key.id}", "/ui/keys?q=TEAM"):
            html = person.get(path).text
            assert "team" in html
            assert text[14:] not in html
        assert "No key is called so" in person.get("/ui/keys?q=nobody").text
    with signed_in(api, text) as person:
        assert person.get("/ui/usage").status_code == 200
        assert person.get("/ui/keys").status_code == 403


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": "7"}, "key name"),
        ({"weight": "many"}, "whole number"),
        ({"networks": "nowhere"}, "is not a network"),
        ({"expires_at": "soon"}, "soon"),
        ({"can": []}, "has one right at least"),
        ({"anonymous": "yes"}, "names no network"),
    ],
)
def test_form_that_is_refused_keeps_what_was_typed(
    sqlite_api: Service, fields: dict[str, Any], says: str
) -> None:
    with signed_in(sqlite_api) as person:
        answer = send(person, "/ui/keys/add", "/ui/keys/add", {**FORM, "note": "typed"}, **fields)
        assert answer.status_code == 422
        assert says in answer.text
        assert 'value="typed"' in answer.text
        assert "There is no key yet" in person.get("/ui/keys").text


def test_key_is_changed_and_emptied(api: Service) -> None:
    new_key(api, "team", models=["a*"], tokens_per_day=5, note="old")
    path = "/ui/keys/1"
    with signed_in(api) as person:
        form = FORM | {
            "name": "group",
            "models": "",
            "note": "",
            "expires_at": "90d",
            "max_concurrent": "3",
        }
        assert send(person, f"{path}/change", path, form).status_code == 303
        key = key_of(api, "group")
        assert (key.models, key.note, key.tokens_per_day, key.max_concurrent) == ((), None, None, 3)
        end = key.expires_at
        assert end is not None
        assert (
            send(person, f"{path}/change", path, form | {"expires_at": end.isoformat()}).status_code
            == 303
        )
        assert key_of(api, "group").expires_at == end
        assert "was changed" in person.get(path).text


def test_second_of_two_tabs_is_told(api: Service) -> None:
    new_key(api, "team")
    path = "/ui/keys/1"
    with signed_in(api) as person:
        html = person.get(path).text
        state = re.search(r'name="state" value="(\w+)"', html)
        assert state is not None
        hidden = {"csrf": csrf_of(html), "state": state[1]}
        first = person.http.post(f"{path}/change", data=hidden | FORM | {"note": "first"})
        assert first.status_code == 303
        second = person.http.post(f"{path}/change", data=hidden | FORM | {"note": "second"})
        assert second.status_code == 412
        assert "was changed in the meantime" in second.text
        assert key_of(api).note == "first"
        for action in ("rotate", "remove"):
            answer = person.http.post(f"{path}/{action}", data=hidden | {"sure": "yes"})
            assert answer.status_code == 412


def test_key_is_rotated_revoked_and_removed(api: Service) -> None:
    old = new_key(api, "team")
    path = "/ui/keys/1"
    with signed_in(api) as person:
        rotated = send(person, f"{path}/rotate", path, {"overlap": "0s"})
        [text] = re.findall(r"oadm_[0-9a-f]{8}_[\w-]{43}", rotated.text)
        assert text != old
        assert send(person, f"{path}/rotate", path, {"overlap": "x"}).status_code == 422
        assert send(person, f"{path}/revoke", path, {}).status_code == 303
        assert not key_of(api).is_active
        assert "revoked" in person.get(path).text
        assert send(person, f"{path}/remove", path, {}).status_code == 422
        assert send(person, f"{path}/remove", path, {"sure": "yes"}).status_code == 303
        assert person.get(path).status_code == 404


@pytest.mark.parametrize("bad", BAD)
def test_names_are_text_in_every_cell(sqlite_api: Service, bad: str) -> None:
    new_key(sqlite_api, bad, note=bad, models=[bad], servers=[bad])
    with signed_in(sqlite_api) as person:
        for path in ("/ui/keys", "/ui/keys/1"):
            html = person.get(path).text
            assert "<script>alert" not in html
            assert '" onmouseover="' not in html
