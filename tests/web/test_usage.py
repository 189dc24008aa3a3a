"""The page Usage: charts that are tables, sums by key, model and server, and CSV."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from ollama_admin.domain.keys import KeyRef
from ollama_admin.domain.servers import ServerRef
from tests.api.service import Service
from tests.receipts import new_receipt
from tests.web.browsing import new_key, signed_in
from tests.web.test_requests import BAD, write

NOW = datetime.now(UTC)
TWO = ServerRef(id=2, name="two", url="http://two")
TEAM, APP = KeyRef(id=1, name="team"), KeyRef(id=2, name="app")


@pytest.fixture
def used(sqlite_api: Service) -> Service:
    """Two requests of team today, one of app three days ago, and one of a command long ago."""
    new_key(sqlite_api, "team")
    write(
        sqlite_api,
        [
            new_receipt(created_at=NOW, key=TEAM),
            new_receipt(created_at=NOW, key=TEAM, outcome="server_busy"),
            new_receipt(created_at=NOW - timedelta(days=3), key=APP, server=TWO, model="beta:7b"),
            new_receipt(created_at=NOW - timedelta(days=200), key=None, model="old:1"),
        ],
    )
    return sqlite_api


def heads(html: str) -> list[str]:
    """The headings of rows."""
    return re.findall(r'<th scope="row"[^>]*>([^<]*)</th>', html)


def test_empty_page_says_what_is_added_up(sqlite_api: Service) -> None:
    with signed_in(sqlite_api) as person:
        html = person.get("/ui/usage").text
    assert "Nothing was used in these days" in html
    assert "ollama-admin generate" in html


def test_days_are_a_table_that_charts_are_drawn_from(used: Service) -> None:
    with signed_in(used) as person:
        html = person.get("/ui/usage").text
    days = [(NOW - timedelta(days=back)).date().isoformat() for back in (3, 0)]
    assert heads(html) == [*days, "team", "app"]
    assert html.count('class="chart"') == 3
    [table] = re.findall(r"<table data-chart>.*?</table>", html, re.DOTALL)
    columns = {
        int(text)
        for found in re.findall(r'data-columns="([\d,]+)"', html)
        for text in found.split(",")
    }
    last = re.findall(r"<tr>.*?</tr>", table, re.DOTALL)[-1]
    cells = re.findall(r'<t[hd][^>]*?(?: data-value="([^"]*)")?>', last)
    assert [cells[column] for column in sorted(columns)] == ["2", "1", "22", "14", "500", "500"]


def test_it_is_added_up_by_what_the_url_says(used: Service) -> None:
    seen = {
        "by=key": ["team", "app"],
        "by=model": ["alpha:latest", "beta:7b"],
        "by=server": ["one", "two"],
        "by=model&key=team": ["alpha:latest"],
        "by=key&server=two&model=beta:7b": ["app"],
        "by=model&since=365d": ["alpha:latest", "beta:7b", "old:1"],
        "by=key&since=365d&model=old:1": ["commands"],
        "by=nonsense&since=nonsense": ["team", "app"],
    }
    with signed_in(used) as person:
        for query, names in seen.items():
            html = person.get(f"/ui/usage?{query}").text
            assert [head for head in heads(html) if not head.startswith("20")] == names, query
        assert "no server named" in person.get("/ui/usage?server=nobody").text


def test_csv_is_a_file_with_the_same_numbers(used: Service) -> None:
    with signed_in(used) as person:
        answer = person.get("/ui/usage/csv?by=key")
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.headers["content-disposition"] == 'attachment; filename="usage-by-key.csv"'
        lines = answer.text.splitlines()
        assert lines[1].startswith("1,team,2,1,22,14,")
        assert person.get("/ui/usage/csv?by=").text.startswith("day,key_id,key,")
        assert person.get("/ui/usage/csv?by=x").text.startswith("day,key_id,key,")


def test_key_that_may_only_ask_sees_its_own(used: Service) -> None:
    new_key(used, "app")
    mine = new_key(used, "mine")
    write(used, [new_receipt(created_at=NOW, key=KeyRef(id=3, name="mine"), model="own:1")])
    with signed_in(used, mine) as person:
        html = person.get("/ui/usage?by=key&key=team&since=365d").text
        assert "own:1" in html
        assert [head for head in heads(html) if not head.startswith("20")] == ["own:1"]
        assert "old:1" not in html
        csv = person.get("/ui/usage/csv?by=key&key=team").text
        assert ("mine" in csv, "team" in csv) == (True, False)


def test_names_are_text_in_every_cell(sqlite_api: Service) -> None:
    key, server = KeyRef(id=1, name=BAD), ServerRef(id=1, name=BAD, url=BAD)
    write(sqlite_api, [new_receipt(created_at=NOW, key=key, server=server, model=BAD)])
    with signed_in(sqlite_api) as person:
        for by in ("key", "model", "server"):
            html = person.get(f"/ui/usage?by={by}").text
            assert "&lt;script&gt;" in html
            assert "<script>alert" not in html
            assert "\u202e" not in html
