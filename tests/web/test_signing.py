"""Signing in and out: what opens the pages, for how long, and what does not."""

from datetime import timedelta

import pytest

from ollama_admin.client import Client
from ollama_admin.services.sessions import LIFETIME
from ollama_admin.web.paths import own_path
from tests.api.service import AUTHORIZED, TOKEN, Service
from tests.store.revisions import execute
from tests.web.browsing import SESSION, Person, csrf_of, new_key, signed_in

LONG_AGO = "2020-01-01 00:00:00"
ELSEWHERE = [
    "https://evil.example/",
    "//evil.example/",
    "/\\evil.example",
    "/ui/../api/keys",
    "/ui/%2e%2e/api/keys",
    "/ui//evil.example",
    "/ui/..%2fapi",
    "javascript:alert(1)",
    "/ui/\r\nSet-Cookie: a=b",
    "/api/keys",
    " /ui/",
    "",
]


def test_a_browser_at_the_root_is_led_to_the_pages_and_a_program_is_not(api: Service) -> None:
    with Person(api) as person:
        led = person.get("/")
        assert (led.status_code, led.headers["location"]) == (303, "/ui/")
        asked = person.get("/ui/fleet?q=a")
        assert asked.headers["location"] == "/ui/sign-in?next=%2Fui%2Ffleet%3Fq%3Da"
    answer = api.ask("GET", "/", headers={"Accept": "*/*"})
    assert (answer.status_code, answer.text) == (200, "Ollama is running")


def test_a_key_opens_the_pages_and_is_in_no_cookie_and_no_answer(api: Service) -> None:
    key = new_key(api, can=["read"])
    with Person(api) as person:
        answer = person.sign_in(key, to="/ui/fleet?q=a")
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/fleet?q=a")
        cookie = answer.headers["set-cookie"]
        assert key not in cookie
        for attribute in ("HttpOnly", "SameSite=strict", "Path=/ui", "Max-Age=43200"):
            assert attribute in cookie
        assert "Secure" not in cookie
        page = person.get("/ui/fleet")
        assert page.status_code == 200
        assert key not in page.text
        assert person.session not in page.text
    assert not any(key in line for line in api.logged)


def test_behind_tls_the_cookie_is_for_tls_alone(sqlite_api: Service) -> None:
    with Person(sqlite_api) as person:
        person.http.headers["Origin"] = sqlite_api.url.replace("http:", "https:")
        assert "Secure" in person.sign_in().headers["set-cookie"]


@pytest.mark.parametrize("key", ["", "wrong", "oadm_00000000_" + "a" * 43, "\u202e" * 300])
def test_no_other_text_opens_them(sqlite_api: Service, key: str) -> None:
    with Person(sqlite_api) as person:
        answer = person.sign_in(key)
        assert answer.status_code == 401
        assert "the key is not known" in answer.text
        assert SESSION not in person.http.cookies
        assert person.get("/ui/fleet").status_code == 303


def test_the_cookie_opens_the_pages_and_no_api(api: Service) -> None:
    with signed_in(api) as person:
        cookie = {"Cookie": f"{SESSION}={person.session}"}
        for path in ("/api/servers", "/api/tags", "/v1/models", "/servers/one/api/tags"):
            with api.client(headers=cookie) as http:
                assert http.get(path).status_code == 401
    for headers in (AUTHORIZED, {"x-api-key": TOKEN}):
        with api.client(headers=headers) as http:
            assert http.get("/ui/fleet").status_code == 303


@pytest.mark.parametrize("path", ELSEWHERE)
def test_nobody_is_led_elsewhere_after_signing_in(shared_api: Service, path: str) -> None:
    assert own_path(path) == "/ui/"
    with Person(shared_api) as person:
        assert person.sign_in(to=path).headers["location"] == "/ui/"
        form = person.http.get("/ui/sign-in", params={"next": path})
        assert 'name="next" value="/ui/"' in form.text


def test_a_session_that_somebody_planted_is_not_taken_over(api: Service) -> None:
    with Person(api) as person:
        person.http.cookies.set(SESSION, "planted", path="/ui")
        person.sign_in()
        assert "planted" not in list(person.http.cookies.jar)[-1].value
    with signed_in(api) as first:
        planted = first.session
        with Person(api) as second:
            second.http.cookies.set(SESSION, planted, path="/ui")
            second.sign_in()
        assert first.get("/ui/fleet").status_code == 303


def test_signing_out_ends_the_session_for_every_copy_of_its_cookie(api: Service) -> None:
    with signed_in(api) as person, Person(api) as thief:
        thief.http.cookies.set(SESSION, person.session, path="/ui")
        assert thief.get("/ui/fleet").status_code == 200
        assert person.send("/ui/sign-out").headers["location"] == "/ui/sign-in"
        assert thief.get("/ui/fleet").status_code == 303


def test_nobody_else_can_sign_one_out(sqlite_api: Service) -> None:
    with signed_in(sqlite_api) as person:
        assert person.http.post("/ui/sign-out", data={}).status_code == 403
        assert person.get("/ui/fleet").status_code == 200


@pytest.mark.parametrize("change", ["revoke", "rotate", "expire", "remove"])
def test_a_key_that_opens_nothing_any_more_ends_its_sessions(
    api: Service, database_url: str, change: str
) -> None:
    assert api.opened is not None
    keys = api.opened.keys
    with signed_in(api, new_key(api, can=["read"])) as person:
        assert person.get("/ui/fleet").status_code == 200
        match change:
            case "revoke":
                api.run(keys.revoke("team"))
            case "rotate":
                api.run(keys.rotate("team"))
            case "expire":
                execute(database_url, f"UPDATE ollama_keys SET expires_at = '{LONG_AGO}'")
            case _:
                api.run(keys.remove("team"))
        fresh(api)
        answer = person.get("/ui/fleet")
        assert (answer.status_code, answer.headers["location"][:11]) == (303, "/ui/sign-in")


def fresh(api: Service) -> None:
    """Let the process notice at once what it would notice within half a second."""
    assert api.opened is not None
    api.run(_forget(api.opened))


async def _forget(client: Client) -> None:
    client._resources.registry.forget()


def test_what_a_key_may_is_read_anew_each_time(api: Service) -> None:
    assert api.opened is not None
    with signed_in(api, new_key(api, can=["read"])) as person:
        api.run(api.opened.keys.update("team", can=["ask"]))
        fresh(api)
        answer = person.get("/ui/fleet")
        assert answer.status_code == 403
        assert "key team has no right to read" in answer.text


def test_a_session_ends_after_twelve_hours(api: Service, database_url: str) -> None:
    with signed_in(api) as person:
        execute(database_url, f"UPDATE ollama_sessions SET expires_at = '{LONG_AGO}'")
        assert person.get("/ui/fleet").status_code == 303
        person.sign_in()
    rows = execute(database_url, "SELECT token_hash FROM ollama_sessions")
    assert len(rows) == 1  # the one that was over was forgotten
    assert timedelta(hours=12) == LIFETIME


def test_a_network_that_needs_no_key_needs_none_here(api: Service) -> None:
    with Person(api) as person:
        assert person.sign_in("").status_code == 401
        new_key(api, "lan", can=["read"], anonymous=True, networks=["127.0.0.0/8"])
        fresh(api)
        assert person.get("/ui/fleet").status_code == 303
        assert person.sign_in("").status_code == 303
        assert "lan" in person.get("/ui/fleet").text


def test_two_people_have_two_tokens_for_their_forms(sqlite_api: Service) -> None:
    with signed_in(sqlite_api) as one, signed_in(sqlite_api) as other:
        mine, others = csrf_of(one.get("/ui/fleet").text), csrf_of(other.get("/ui/fleet").text)
        assert mine != others
        assert one.http.post("/ui/sign-out", data={"csrf": others}).status_code == 403
