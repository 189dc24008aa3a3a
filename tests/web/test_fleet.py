"""Fleet and its servers: seen, added, changed, checked, drained and removed in a browser."""

import pytest

from ollama_admin.safe_text import safe_text
from tests.api.conftest import Serve, register
from tests.api.service import Service
from tests.fake_ollama import Silence
from tests.store.revisions import execute
from tests.web.browsing import Person, csrf_of, new_key, signed_in
from tests.web.shown import text_of

NEW = {"name": "gpu-1", "url": "http://10.0.0.5:11434", "max_concurrent": "2", "auth_type": "none"}


def add(person: Person, **fields: str) -> int:
    """The id of a server that was added by the form."""
    answer = person.send("/ui/fleet/add", NEW | fields, page="/ui/fleet/add")
    assert answer.status_code == 303, answer.text
    return int(answer.headers["location"].rpartition("/")[2])


def state_of(html: str) -> str:
    return html.partition('name="state" value="')[2].partition('"')[0]


def test_an_empty_fleet_says_what_to_do_first(sqlite_api: Service) -> None:
    with signed_in(sqlite_api) as person:
        html = person.get("/ui/fleet").text
        assert "There is no server yet" in html
        assert 'href="/ui/fleet/add"' in html
    with signed_in(sqlite_api, new_key(sqlite_api, can=["read"])) as person:
        assert "/ui/fleet/add" not in person.get("/ui/fleet").text


def test_a_server_is_added_seen_and_in_the_audit(api: Service) -> None:
    assert api.opened is not None
    with signed_in(api, new_key(api, can=["manage"])) as person:
        server_id = add(person, labels="gpu=a100\r\nrack=3", capabilities="vision")
        page = person.get(f"/ui/fleet/{server_id}")
        assert "server gpu-1 was added" in page.text
        assert "server gpu-1 was added" not in person.get("/ui/fleet").text
        assert "gpu=a100, rack=3" in text_of(page.text)
        row = api.run(api.opened.servers.show("gpu-1"))
        assert (row.max_concurrent, row.labels) == (2, {"gpu": "a100", "rack": "3"})
        assert "0 of 2" in text_of(person.get("/ui/fleet").text)
    [entry] = [one for one in api.run(api.opened.audit.list()) if one.action == "server.add"]
    assert (entry.who, str(entry.way)) == ("team", "api")


@pytest.mark.parametrize(
    ("fields", "status", "told"),
    [
        ({"name": ""}, 422, "name"),
        ({"url": "ftp://x"}, 422, "http"),
        ({"max_concurrent": "many"}, 422, "no whole number"),
        ({"labels": "gpu"}, 422, "has no value"),
        ({"auth_type": "bearer", "secret": "env:HOME"}, 422, "is a reference"),
        ({"auth_type": "bearer", "secret": "file:/etc/passwd"}, 422, "is a reference"),
        ({"auth_type": "sesame"}, 422, "no kind of credentials"),
        ({"name": "GPU-0"}, 409, "gpu-0"),
    ],
)
def test_a_form_that_cannot_be_taken_comes_back_as_it_was(
    shared_api: Service, fields: dict[str, str], status: int, told: str
) -> None:
    with signed_in(shared_api) as person:
        if status == 409:
            add(person, name="gpu-0", url="http://10.0.0.4")
        given = NEW | {"url": "http://10.0.0.99"} | fields
        answer = person.send("/ui/fleet/add", given, page="/ui/fleet/add")
        assert answer.status_code == status
        assert told in text_of(answer.text)
        assert f'value="{given["url"]}"' in answer.text
        if "secret" in given:
            assert given["secret"] not in answer.text


def test_a_secret_is_stored_and_never_shown(sqlite_api: Service) -> None:
    assert sqlite_api.opened is not None
    with signed_in(sqlite_api) as person:
        server_id = add(person, auth_type="basic", subject="ann", secret="canary-secret")
        html = person.get(f"/ui/fleet/{server_id}").text
        assert "canary-secret" not in html
        row = sqlite_api.run(sqlite_api.opened.servers.show(server_id))
        assert row.auth_config["username"] == "ann"
        assert "canary-secret" not in str(dict(row.auth_config))


def test_of_two_tabs_that_change_one_row_the_second_is_told(api: Service) -> None:
    assert api.opened is not None
    with signed_in(api) as one, signed_in(api) as other:
        server_id = add(one, labels="gpu=a100\nrack=3", default_model="alpha")
        path = f"/ui/fleet/{server_id}"
        state = state_of(one.get(path).text)
        change = NEW | {"state": state, "is_active": "yes", "auth_type": "keep"}
        first = one.send(path + "/change", change | {"name": "gpu-2", "labels": "rack=4"}, path)
        assert first.status_code == 303
        row = api.run(api.opened.servers.show(server_id))
        assert (row.name, row.labels, row.default_model) == ("gpu-2", {"rack": "4"}, None)
        second = other.send(path + "/change", change | {"name": "gpu-3"}, path)
        assert second.status_code == 412
        assert "server gpu-2 was changed in the meantime" in text_of(second.text)
        assert state_of(second.text) not in ("", state)
        again = change | {"name": "gpu-3", "state": state_of(second.text)}
        assert other.send(path + "/change", again, path).status_code == 303
        late = {"state": state, "sure": "yes"}
        assert one.send(path + "/remove", late, path).status_code == 412


def test_a_server_is_checked_discovered_drained_and_resumed_in_place(
    api: Service, fakes: Serve
) -> None:
    fake = fakes("alpha", "beta")
    [server_id] = register(api, fake)
    with signed_in(api) as person:
        for action, told in {
            "check": "one: online",
            "discover": "one: 2 unchanged",
            "drain": "server one gets no new requests; 0 still run there",
            "resume": "server one gets requests again",
        }.items():
            answer = person.http.post(
                f"/ui/fleet/{server_id}/{action}",
                data={"csrf": csrf_of(person.get("/ui/fleet").text)},
                headers={"Referer": f"{api.url}/ui/fleet?q=one"},
            )
            assert answer.headers["location"] == "/ui/fleet?q=one"
            page = person.get("/ui/fleet?q=one")
            assert told in text_of(page.text)
            assert ("draining" in text_of(page.text)) == (action == "drain")
        assert person.send("/ui/fleet/check").headers["location"] == "/ui/fleet"
        assert "one: online" in text_of(person.get("/ui/fleet").text)
        assert person.send("/ui/fleet/discover").status_code == 303


def test_a_server_is_removed_once_one_is_sure(api: Service) -> None:
    with signed_in(api) as person:
        server_id = add(person)
        path = f"/ui/fleet/{server_id}"
        fields = {"state": state_of(person.get(path).text)}
        assert person.send(path + "/remove", fields, path).status_code == 422
        assert person.send(path + "/remove", fields | {"sure": "yes"}, path).status_code == 303
        assert person.get(path).status_code == 404


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a\u202eb", "x" * 300])
def test_the_name_of_a_server_is_text(api: Service, database_url: str, name: str) -> None:
    with signed_in(api) as person:
        server_id = add(person)
        execute(database_url, f"UPDATE ollama_servers SET name = '{name}'")
        for path in ("/ui/fleet", f"/ui/fleet/{server_id}"):
            html = person.get(path).text
            assert "<script>alert" not in html
            assert "\u202e" not in html
            assert safe_text(name) in text_of(html)


def test_a_server_that_hangs_holds_up_no_page(api: Service, fakes: Serve) -> None:
    fake = fakes("alpha")
    register(api, fake)
    fake.call(lambda: fake.fakes[0].script_always("/api/ps", Silence()))
    with signed_in(api) as person:
        assert person.get("/ui/fleet").status_code == 200


def test_long_lists_are_shown_a_page_at_a_time(sqlite_api: Service) -> None:
    assert sqlite_api.opened is not None
    for number in range(60):
        sqlite_api.run(
            sqlite_api.opened.servers.add(
                name=f"gpu-{number:02}", url=f"http://10.0.0.{number}", is_active=False
            )
        )
    with signed_in(sqlite_api) as person:
        first, second = (person.get(f"/ui/fleet?at={at}").text for at in (1, 2))
        assert "gpu-49" in first
        assert "gpu-50" not in first
        assert "gpu-50" in second
        assert "page 2 of 2, 60 in all" in text_of(second)
        assert "gpu-07" in person.get("/ui/fleet?q=gpu-07&at=99").text
