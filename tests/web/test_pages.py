"""What every page owes: headers, rights, harmless text, nothing from elsewhere, and few bytes."""

import hashlib
import re
import tomllib
from pathlib import Path

import pytest

import ollama_admin.web
from ollama_admin.domain.keys import Right
from ollama_admin.web.contents import PAGES
from ollama_admin.web.page import View
from tests.api.conftest import Serve, register
from tests.api.service import Service
from tests.web.browsing import new_key, signed_in

FOLDER = Path(ollama_admin.web.__file__).parent
STATIC, TEMPLATES = FOLDER / "static", FOLDER / "templates"
VENDORED = tomllib.loads((FOLDER / "vendored.toml").read_text())
FIRST_PAINT = 150_000  # bytes
VIEWS = [view for page in PAGES for view in page.views]
CHANGES = [view for view in VIEWS if view.method == "POST"]
SEES = {"ask": "ask", "read": "read", "manage": "read manage", "admin": "ask read manage admin"}
BAD = ["<script>alert(1)</script>", '" onmouseover="alert(1)', "a\u202eb", "x" * 200]


def path_of(view: View) -> str:
    return re.sub(r"\{[^}]*\}", "1", view.path)


@pytest.mark.parametrize("name", VENDORED)
def test_a_vendored_file_is_as_it_was_published(name: str) -> None:
    entry = VENDORED[name]
    assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == entry["sha256"]
    assert (STATIC / entry["licence_file"]).read_text().strip()
    assert entry["version"]


def test_what_is_not_vendored_is_our_own() -> None:
    own = {"ui.css", "ui.js", "icon.svg"}
    files = {path.name for path in STATIC.iterdir() if not path.name.endswith(".LICENSE.txt")}
    assert files - set(VENDORED) >= own
    assert all(not name.endswith(".min.js") for name in files - set(VENDORED))


def test_nothing_comes_from_another_host_and_nothing_is_inline() -> None:
    for path in list(TEMPLATES.iterdir()) + list(STATIC.glob("ui*.*")):
        text = path.read_text()
        named = re.findall(
            r"""(?:src|href|action|url\(|import|@import)\s*[=(]?\s*["']?(\w+:)?//""", text
        )
        assert named == [], path.name
        if path.suffix == ".html":
            assert (
                re.findall(r"<script(?![^>]*\ssrc=)|\sstyle=|<style|\son\w+=|javascript:", text)
                == []
            )
            assert "http://" not in re.sub(
                r'<(code|pre)>.*?</\1>|placeholder="[^"]*"', "", text, flags=re.DOTALL
            )
    for name in ("eval(", "new Function", ".innerHTML"):
        assert not any(name in path.read_text() for path in STATIC.glob("ui*.js"))


def test_every_page_has_a_place_in_the_menu_of_those_who_may_see_it(sqlite_api: Service) -> None:
    for right, allowed in SEES.items():
        with signed_in(sqlite_api, new_key(sqlite_api, right, can=[right])) as person:
            for page in PAGES:
                opens = {page.right, page.views[0].other} & set(allowed.split())
                expected = 200 if opens else 403
                assert person.get(page.path).status_code == expected, page.name


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: f"{view.method} {view.path}")
def test_every_view_wants_a_session_and_its_right(shared_api: Service, view: View) -> None:
    with shared_api.client(headers={}) as http:
        answer = http.request(view.method, path_of(view))
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/ui/sign-in")
    if {view.right, view.other} == {Right.ASK, Right.READ}:
        return
    lacking = "read" if Right.ASK in (view.right, view.other) else "ask"
    name = f"{lacking}-{abs(hash((view.method, view.path)))}"
    with signed_in(shared_api, new_key(shared_api, name, can=[lacking])) as person:
        assert person.http.request(view.method, path_of(view)).status_code == 403


@pytest.mark.parametrize("view", CHANGES, ids=lambda view: view.path)
def test_every_change_wants_the_token_of_the_session(shared_api: Service, view: View) -> None:
    with signed_in(shared_api) as person:
        for token in ("", "0" * 64):
            answer = person.http.post(path_of(view), data={"csrf": token})
            assert answer.status_code == 403
            assert "does not belong to this session" in answer.text
        json = person.http.post(path_of(view), json={"csrf": token})
        assert json.status_code == 415
        person.http.headers["Origin"] = "https://evil.example"
        assert person.http.post(path_of(view), data={}).status_code == 403


def test_a_refused_change_is_in_the_audit(api: Service) -> None:
    assert api.opened is not None
    change = next((view for view in CHANGES if view.right is Right.MANAGE), None)
    if change is None:
        return
    with signed_in(api, new_key(api, can=["read"])) as person:
        assert person.http.post(path_of(change), data={}).status_code == 403
    [entry] = [one for one in api.run(api.opened.audit.list()) if one.action == "request"]
    assert (entry.who, entry.outcome) == ("team", "forbidden")


@pytest.mark.parametrize("path", ["/ui/fleet", "/ui/sign-in", "/ui/none", "/ui/static/ui.css"])
def test_no_page_can_be_framed_or_run_what_is_not_ours(shared_api: Service, path: str) -> None:
    with signed_in(shared_api) as person:
        headers = person.get(path).headers
        assert headers["content-security-policy"] == (
            "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
        )
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == (
            "no-store" if "static" not in path else ("public, max-age=31536000, immutable")
        )


def test_another_host_name_is_refused(shared_api: Service) -> None:
    with signed_in(shared_api) as person:
        answer = person.http.get("/ui/fleet", headers={"Host": "evil.example"})
        assert answer.status_code == 403


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_first_paint_transfers_little(api: Service, fakes: Serve, page: object) -> None:
    register(api, fakes("alpha", "beta"))
    with signed_in(api) as person:
        answer = person.get(page.path)  # type: ignore[attr-defined]
        size = len(answer.content)
        for url in set(re.findall(r'(?:src|href)="(/ui/static/[^"]+)"', answer.text)):
            file = person.get(url)
            assert file.status_code == 200
            size += len(file.content)
        assert size < FIRST_PAINT


@pytest.mark.parametrize("bad", BAD)
def test_names_are_text_wherever_they_stand(api: Service, bad: str) -> None:
    assert api.opened is not None
    with signed_in(api) as person:
        for page in PAGES:
            html = person.http.get(page.path, params={"q": bad, "model": bad, "server": bad}).text
            assert "<script>alert" not in html
            assert '" onmouseover="' not in html
            assert "\u202e" not in html


def test_a_page_of_a_database_that_is_away_says_so_and_comes_back(sqlite_api: Service) -> None:
    assert sqlite_api.opened is not None
    with signed_in(sqlite_api) as person:
        path = Path(sqlite_api.opened._resources.settings.sqlite_path or "")
        hidden = path.with_suffix(".away")
        path.rename(hidden)
        try:
            answer = person.get("/ui/fleet")
        finally:
            hidden.rename(path)
        assert answer.status_code in (303, 503)
        assert person.get("/ui/fleet").status_code == 200
