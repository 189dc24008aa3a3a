"""The pages in a real browser: a morning's round, what comes by itself, what a keyboard and a
screen reader need, and what is left of them without JavaScript.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.pulling import Registry
from ollama_admin.web.contents import PAGES
from tests.api.conftest import (  # noqa: F401 (fixtures for here too)
    Serve,
    fakes,
    register,
    sqlite_api,
    sqlite_url,
)
from tests.api.service import TOKEN, Service
from tests.system.test_node_clients import program
from tests.web.browsing import new_key

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

AXE = "axe-core@4.14.1"
SERIOUS = ("serious", "critical")
SIZES = {"phone": 400, "desk": 1280, "wall": 2000}
FIRST_PAINT = 150_000  # bytes


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium: nothing is downloaded for it."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        path = program("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe, which is run in pages."""
    folder = tmp_path_factory.mktemp("axe")
    command = [program("npm"), "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(
        [*command, "--prefix", str(folder), AXE], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


@pytest.fixture
def page(browser: Browser, sqlite_api: Service) -> Iterator[Page]:  # noqa: F811
    """A tab, in which nothing may fail or be refused by the policy of the pages."""
    context = browser.new_context(base_url=sqlite_api.url, viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    failures: list[str] = []
    tab.on("pageerror", lambda error: failures.append(str(error)))
    tab.on("console", lambda said: failures.append(said.text) if said.type == "error" else None)
    yield tab
    context.close()
    assert failures == []


def sign_in(page: Page, key: str = TOKEN) -> None:
    page.goto("/ui/")
    page.get_by_label("Key").fill(key)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/ui/(fleet|ask)$"))


def fleet_of(service: Service, start: Serve) -> None:
    """Two servers, one request, two keys and a pin: every page has something to show."""
    assert service.opened is not None
    register(service, start("alpha", "beta"), start("alpha"), labels={"gpu": "a100"})
    new_key(service, "team")
    service.run(service.opened.pins.set("alpha", server="one"))
    body = {"model": "alpha", "prompt": "hi", "stream": False}
    answer = service.ask("POST", "/api/generate", body)
    service.receipt(answer.headers["x-request-id"])


def test_the_mornings_round(page: Page, sqlite_api: Service, fakes: Serve) -> None:  # noqa: F811
    fake = fakes("alpha", registry=Registry([SimulatedModel("beta", says="I am beta")]))
    sign_in(page, new_key(sqlite_api, "morning", can=["admin"]))
    expect(page.get_by_role("heading", name="Fleet")).to_be_visible()
    page.get_by_role("link", name="Add the first one").click()
    page.get_by_label("Name", exact=True).fill("gpu-1")
    page.get_by_label("URL", exact=True).fill(fake.url)
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_text("server gpu-1 was added")).to_be_visible()
    page.get_by_role("button", name="Discover gpu-1").click()
    expect(page.get_by_text("gpu-1: 1 added")).to_be_visible()
    page.get_by_role("link", name="Models", exact=True).click()
    page.get_by_label("Model", exact=True).last.fill("beta")
    page.get_by_label("gpu-1").check()
    page.get_by_role("button", name="Pull").click()
    expect(page.get_by_text("All 1 have it.")).to_be_visible()
    page.get_by_role("link", name="Ask", exact=True).click()
    page.get_by_label("Model").fill("beta")
    page.get_by_label("Prompt").fill("Who are you?")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_text("I am beta")).to_be_visible()
    expect(page.get_by_text("proved")).to_be_visible()
    number = page.locator("dd a[href^='/ui/requests/']")
    request_id = number.inner_text()
    sqlite_api.receipt(request_id)  # it is written behind the answer
    number.click()
    expect(page.get_by_text(request_id).first).to_be_visible()
    other = new_key(sqlite_api, "laptop")
    page.get_by_role("link", name="Keys", exact=True).click()
    page.get_by_role("link", name="laptop").click()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("key laptop was revoked")).to_be_visible()
    headers = {"Authorization": f"Bearer {other}"}
    while sqlite_api.ask("GET", "/api/tags", headers=headers).status_code != 401:
        page.wait_for_timeout(50)  # it is known everywhere within half a second


def test_a_revoked_key_ends_what_is_open(page: Page, sqlite_api: Service) -> None:  # noqa: F811
    assert sqlite_api.opened is not None
    sign_in(page, new_key(sqlite_api, "gone", can=["read"]))
    sqlite_api.run(sqlite_api.opened.keys.revoke("gone"))
    page.wait_for_url("**/ui/sign-in**", timeout=60_000)


def test_what_changes_comes_by_itself_and_waits_while_nobody_looks(
    page: Page,
    sqlite_api: Service,  # noqa: F811
    fakes: Serve,  # noqa: F811
) -> None:
    assert sqlite_api.opened is not None
    sign_in(page)
    expect(page.get_by_text("There is no server yet")).to_be_visible()
    register(sqlite_api, fakes("alpha"))
    expect(page.get_by_role("link", name="one", exact=True)).to_be_visible()
    page.get_by_role("button", name="Drain one").focus()
    sqlite_api.run(sqlite_api.opened.servers.update("one", max_concurrent=7))
    expect(page.get_by_text("0 of 7")).to_be_visible()
    expect(page.get_by_role("button", name="Drain one")).to_be_focused()
    hide = "Object.defineProperty(document, 'hidden', {{value: {}, configurable: true}});"
    changed = "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(hide.format("true") + changed)
    assert page.evaluate("stream") is None
    page.evaluate(hide.format("false") + changed)
    assert page.evaluate("stream.readyState") in (0, 1)


def test_a_keyboard_is_enough(page: Page, sqlite_api: Service, fakes: Serve) -> None:  # noqa: F811
    register(sqlite_api, fakes("alpha"))
    sign_in(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Name, URL or state")).to_be_focused()
    page.keyboard.type("one")
    page.keyboard.press("Enter")
    page.wait_for_url("**/ui/fleet?q=one")
    page.get_by_role("button", name="Drain one").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("server one gets no new requests")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(
    browser: Browser,
    sqlite_api: Service,  # noqa: F811
    fakes: Serve,  # noqa: F811
    axe: str,
    scheme: Any,
) -> None:
    fleet_of(sqlite_api, fakes)
    context = browser.new_context(base_url=sqlite_api.url, color_scheme=scheme)
    page = context.new_page()
    page.goto("/ui/sign-in")
    found = {"sign-in": serious(page, axe)}
    sign_in(page)
    more = ["/ui/fleet/1", "/ui/fleet/add", "/ui/models/show?model=alpha", "/ui/none"]
    for path in [one.path for one in PAGES] + more:
        page.goto(path)
        found[path] = serious(page, axe)
    context.close()
    assert {path: said for path, said in found.items() if said} == {}


@pytest.mark.parametrize("width", SIZES.values(), ids=SIZES)
def test_no_page_is_wider_than_its_window_and_first_paint_is_small(
    browser: Browser,
    sqlite_api: Service,  # noqa: F811
    fakes: Serve,  # noqa: F811
    width: int,
) -> None:
    fleet_of(sqlite_api, fakes)
    viewport: Any = {"width": width, "height": 900}
    state = signed_in_state(browser, sqlite_api)
    for path in [one.path for one in PAGES] + ["/ui/fleet/1", "/ui/models/show?model=alpha"]:
        options: Any = {"storage_state": state, "viewport": viewport}
        context = browser.new_context(base_url=sqlite_api.url, **options)  # with an empty cache
        page = context.new_page()
        sizes: list[int] = []
        page.on("requestfinished", lambda done, sizes=sizes: sizes.append(size_of(done)))
        page.goto(path, wait_until="load")
        wide = "document.documentElement.scrollWidth - innerWidth"
        assert page.evaluate(wide) <= 0, path
        assert sum(sizes) < FIRST_PAINT, path
        context.close()


def test_every_page_reads_without_javascript(
    browser: Browser,
    sqlite_api: Service,  # noqa: F811
    fakes: Serve,  # noqa: F811
) -> None:
    fleet_of(sqlite_api, fakes)
    context = browser.new_context(base_url=sqlite_api.url, java_script_enabled=False)
    page = context.new_page()
    sign_in(page)
    for one in PAGES:
        page.goto(one.path)
        assert page.get_by_role("heading", level=1).inner_text()
    page.goto("/ui/fleet")
    page.get_by_role("button", name="Check one").click()
    expect(page.get_by_text("one: online")).to_be_visible()
    page.goto("/ui/ask")
    page.get_by_label("Model").fill("alpha")
    page.get_by_label("Prompt").fill("hi")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_text("proved")).to_be_visible()
    context.close()


def signed_in_state(browser: Browser, service: Service) -> Any:
    """The cookies of somebody who has signed in."""
    context = browser.new_context(base_url=service.url)
    page = context.new_page()
    sign_in(page)
    state = context.storage_state()
    context.close()
    return state


def size_of(request: Any) -> int:
    sizes = request.sizes()
    return int(sizes["responseBodySize"] + sizes["responseHeadersSize"])


def serious(page: Page, axe: str) -> list[str]:
    """What axe finds that keeps people out, in one line each."""
    page.evaluate(axe)
    found = page.evaluate("axe.run().then(found => found.violations)")
    return [
        f"{one['id']}: {json.dumps([node['html'][:120] for node in one['nodes'][:3]])}"
        for one in found
        if one["impact"] in SERIOUS
    ]
