"""Two clients that change one row: with `If-Match` the slower one is told, and changes nothing."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.api.conftest import Serve, register
from tests.api.service import Service

NEW = {"name": "gpu", "url": "10.0.0.1"}


def added(api: Service) -> tuple[str, str]:
    """The path of a new server, and its state."""
    answer = api.ask("POST", "/api/servers", NEW)
    return answer.headers["location"], answer.headers["etag"]


def patch(api: Service, path: str, tag: str, priority: int = 5) -> httpx.Response:
    return api.ask("PATCH", path, {"priority": priority}, headers={"If-Match": tag})


def delete(api: Service, path: str, tag: str) -> httpx.Response:
    return api.ask("DELETE", path, headers={"If-Match": tag})


def test_the_state_that_was_read_may_be_changed(api: Service) -> None:
    path, tag = added(api)
    assert api.ask("GET", path).headers["etag"] == tag
    changed = patch(api, path, tag)
    assert (changed.status_code, changed.json()["priority"]) == (200, 5)
    assert changed.headers["etag"] != tag
    assert api.ask("GET", path).headers["etag"] == changed.headers["etag"]
    assert delete(api, path, changed.headers["etag"]).status_code == 204


@pytest.mark.parametrize("change", [patch, delete])
def test_a_state_that_somebody_else_has_changed_is_left_alone(
    api: Service, change: Callable[[Service, str, str], httpx.Response]
) -> None:
    path, tag = added(api)
    before = api.ask("PATCH", path, {"max_concurrent": 3})
    refused = change(api, path, tag)
    assert (refused.status_code, refused.json()["error"]["code"]) == (412, "state_changed")
    after = api.ask("GET", path)
    assert (after.json(), after.headers["etag"]) == (before.json(), before.headers["etag"])


def test_a_change_back_and_a_change_of_credentials_are_changes(
    sqlite_api: Service,
) -> None:
    path, tag = added(sqlite_api)
    tags = {tag}
    for change in (
        {"priority": 1},
        {"priority": 0},
        {"auth_type": "bearer", "auth_config": {"token": "one"}},
        {"auth_config": {"token": "two"}},
        {"headers": {"X-A": "one"}},
        {"headers": {"X-A": "two"}},
    ):
        tags.add(sqlite_api.ask("PATCH", path, change).headers["etag"])
    assert len(tags) == 7


def test_what_is_seen_of_a_server_is_no_change(api: Service, fakes: Serve) -> None:
    [one] = register(api, fakes("alpha"))
    path = f"/api/servers/{one}"
    tag = api.ask("GET", path).headers["etag"]
    assert api.ask("POST", f"{path}/check").json()["failed"] == 0
    assert api.ask("POST", f"{path}/discover").json()["failed"] == 0
    assert api.ask("POST", "/api/generate", {"model": "alpha", "prompt": "hi"}).status_code == 200
    assert patch(api, path, tag).status_code == 200


def test_of_many_changes_of_one_state_one_is_made(api: Service) -> None:
    path, tag = added(api)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: patch(api, path, tag, number + 1), range(16)))
    [made] = [answer for answer in answers if answer.status_code == 200]
    assert [answer.status_code for answer in answers].count(412) == 15
    assert api.ask("GET", path).json() == made.json()


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("*", 200),
        ('"other", TAG', 200),
        ('TAG,W/"weak"', 200),
        ("W/TAG", 412),
        ('"other"', 412),
        ('""', 412),
        ("", 400),
        ("other", 400),
        ('"other', 400),
        ("TAG other", 400),
        ("TAG,", 400),
        ("*, TAG", 400),
    ],
)
def test_if_match_is_read_as_the_standard_says(
    sqlite_api: Service, header: str, status: int
) -> None:
    path, tag = added(sqlite_api)
    assert patch(sqlite_api, path, header.replace("TAG", tag)).status_code == status


def test_a_server_that_is_not_there_is_not_found_whatever_its_state(sqlite_api: Service) -> None:
    assert patch(sqlite_api, "/api/servers/7", "*").status_code == 404
    assert delete(sqlite_api, "/api/servers/7", '"other"').status_code == 404
