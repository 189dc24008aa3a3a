"""The pages Pins, Audit and Doctor."""

import re
from typing import Any

import pytest

from ollama_admin.simulator.model import SimulatedModel
from tests.api.conftest import Serve, register
from tests.api.service import Service
from tests.store.revisions import execute
from tests.web.browsing import csrf_of, new_key, signed_in

DIGEST, OTHER = "a" * 64, "b" * 64
BAD = "<script>alert(1)</script>\u202e" + "x" * 300
ALPHA = SimulatedModel("alpha")


def pinned(service: Service) -> dict[str, str]:
    assert service.opened is not None
    return {pin.name: pin.digest for pin in service.run(service.opened.pins.list())}


def test_name_is_pinned_changed_and_let_go(api: Service, fakes: Serve) -> None:
    register(api, fakes(ALPHA))
    with signed_in(api) as person:
        assert "No name is pinned" in person.get("/ui/pins").text

        def send(action: str, **fields: Any) -> Any:
            return person.send(f"/ui/pins/{action}", fields, page="/ui/pins")

        assert send("set", name="alpha", before="").status_code == 303
        assert pinned(api) == {"alpha:latest": ALPHA.digest}
        html = person.get("/ui/pins").text
        assert "is pinned to build" in html
        assert "1 have it" in html
        changed = send("set", name="alpha", digest=DIGEST, before=ALPHA.digest)
        assert changed.status_code == 303
        html = person.get("/ui/pins?q=ALPHA").text
        assert ("nobody has it" in html, "1 have another build" in html) == (True, True)
        assert send("remove", name="alpha", before=DIGEST).status_code == 303
        assert pinned(api) == {}


def test_second_of_two_tabs_is_told(api: Service) -> None:
    with signed_in(api) as person:

        def send(action: str, **fields: Any) -> Any:
            return person.send(f"/ui/pins/{action}", fields, page="/ui/pins")

        assert send("set", name="alpha", digest=DIGEST, before="").status_code == 303
        for fields in (
            {"digest": OTHER, "before": ""},
            {"digest": OTHER, "before": OTHER},
        ):
            late = send("set", name="alpha", **fields)
            assert late.status_code == 412
            assert "was changed in the meantime" in late.text
        assert send("remove", name="alpha", before=OTHER).status_code == 412
        assert list(pinned(api).values()) == [DIGEST]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"name": ""}, 422),
        ({"name": "alpha", "digest": "zz"}, 422),
        ({"name": "nothing"}, 404),
        ({"name": "alpha", "digest": DIGEST, "server": "one"}, 422),
    ],
)
def test_refused_pin_is_told_on_the_page(
    sqlite_api: Service, fields: dict[str, str], status: int
) -> None:
    with signed_in(sqlite_api) as person:
        answer = person.send("/ui/pins/set", {"before": ""} | fields, page="/ui/pins")
        assert answer.status_code == status
        assert 'role="alert"' in answer.text
        assert pinned(sqlite_api) == {}


def test_who_may_only_read_sees_no_forms(sqlite_api: Service) -> None:
    assert sqlite_api.opened is not None
    sqlite_api.run(sqlite_api.opened.pins.set("alpha", digest=DIGEST))
    with signed_in(sqlite_api, new_key(sqlite_api, can=["read"])) as person:
        html = person.get("/ui/pins").text
    assert "alpha:latest" in html or "alpha" in html
    assert "/ui/pins/set" not in html


def test_audit_tells_what_was_before_and_after(api: Service) -> None:
    assert api.opened is not None
    with signed_in(api) as person:
        assert "No change is asked for" in person.get("/ui/audit?action=nothing").text
        new_key(api, "team")
        api.run(api.opened.keys.update("team", weight=7, note=BAD[:300].replace("\u202e", "")))
        html = person.get("/ui/audit").text
        assert re.search(r"<dt>weight</dt><dd><del>1</del> <ins>7</ins></dd>", html)
        assert "<script>alert" not in html
        assert "&lt;script&gt;" in html
        assert "key.update" not in person.get("/ui/audit?action=key.add").text
        assert "key.add" not in person.get("/ui/audit?refused=yes").text
        assert "key.add" not in person.get("/ui/audit?who=nobody").text
        assert "key.add" in person.get("/ui/audit?since=all&below=nonsense").text
        for number in range(60):
            api.run(api.opened.keys.update("team", weight=number % 2 + 1))
        first = person.get("/ui/audit?action=key").text
        [below] = re.findall(r"below=(\d+)", first)
        second = person.get(f"/ui/audit?action=key&below={below}").text
        assert second.count("<tr>") - 1 == 12


def test_foreign_text_of_the_audit_is_text(sqlite_api: Service, sqlite_url: str) -> None:
    assert sqlite_api.opened is not None
    new_key(sqlite_api, "team")
    bad = BAD.replace("'", "''")
    execute(
        sqlite_url,
        f"UPDATE ollama_audit SET who = '{bad}', subject = '{bad}', "
        """after = '{"<script>alert(2)": ["<script>", {"x\u202e": "\u202e"}]}'""",
    )
    with signed_in(sqlite_api) as person:
        html = person.get("/ui/audit").text
    assert "<script>" not in html
    assert "\u202e" not in html
    assert "alert(2)" in html


def test_doctor_tells_settings_and_findings(sqlite_api: Service) -> None:
    assert sqlite_api.opened is not None
    with signed_in(sqlite_api) as person:
        html = person.get("/ui/doctor").text
        assert "There is no server yet" in html
        assert "database" in html.lower()
        sqlite_api.run(sqlite_api.opened.servers.add(name="<b>gpu</b>", url="http://10.0.0.1"))
        html = person.get("/ui/doctor").text
    assert "&lt;b&gt;gpu" in html
    assert csrf_of(html)
