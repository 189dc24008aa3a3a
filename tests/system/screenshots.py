"""Pictures of each page at three widths, in light and in dark, for docs/images/:
python -m tests.system.screenshots FOLDER
"""

import os
import shutil
import sys
import tempfile
from asyncio import new_event_loop
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.web.contents import PAGES
from tests.api.conftest import migrate
from tests.api.service import TOKEN, Service
from tests.fake_ollama import FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread

SIZES = ((400, 800), (1280, 800), (2000, 1100))
SCHEMES = ("light", "dark")
GB = 10**9
MODELS = {
    "qwen3:8b": 5 * GB,
    "gemma3:27b": 17 * GB,
    "llama3.3:70b": 42 * GB,
    "nomic-embed-text:latest": GB // 4,
    "qwen3-coder:30b": 18 * GB,
}
HELD = {
    "gpu-1": ("qwen3:8b", "gemma3:27b", "nomic-embed-text:latest"),
    "gpu-2": ("qwen3:8b", "llama3.3:70b"),
    "gpu-3": ("qwen3:8b", "gemma3:27b", "qwen3-coder:30b"),
    "gpu-4": ("nomic-embed-text:latest", "gemma3:27b"),
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        service = _served(stack)
        playwright = stack.enter_context(sync_playwright())
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        path = shutil.which("chromium") or "chromium"
        browser = playwright.chromium.launch(executable_path=path, args=sandbox)
        for width, height in SIZES:
            for scheme in SCHEMES:
                _pictures(browser, service, folder, width, height, scheme)
        browser.close()


def _served(stack: ExitStack) -> Service:
    """A fleet with something to see on each page."""
    url = f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory())}/one.db"
    migrate(url)
    service = stack.enter_context(Service(url, loop_factory=new_event_loop))
    for name, models in HELD.items():
        fake = stack.enter_context(FakeOllamaThread(FakeOllama(*(_model(name, m) for m in models))))
        row = {"name": name, "url": fake.url, "max_concurrent": 4, "labels": {"gpu": "a100"}}
        service.ask("POST", "/api/servers", row)
    service.ask("POST", "/api/servers", {"name": "rack-7", "url": "http://127.0.0.1:9"})
    service.ask("POST", "/api/discover")
    _used(service)
    return service


def _model(server: str, name: str) -> SimulatedModel:
    build = "older" if (server, name) == ("gpu-4", "gemma3:27b") else ""
    says = "Many servers that answer as one, each by its own name."
    return SimulatedModel(name, build=build, says=says, size=MODELS[name] // 4, gpu_share=1.0)


def _used(service: Service) -> None:
    client = service.opened
    assert client is not None
    service.run(client.servers.check())
    service.run(client.pins.set("qwen3:8b", server="gpu-1"))
    service.run(client.servers.begin_to_drain("gpu-3"))
    for name in ("ann", "builds", "chat"):
        key = service.run(client.keys.add(name=name, can=["ask"], requests_per_minute=600))
        headers = {"Authorization": f"Bearer {key.text.reveal()}"}
        for model in ("qwen3:8b", "llama3.3:70b", "none:1b") + ("qwen3:8b",) * len(name):
            body = {"model": model, "prompt": "What is a fleet?", "stream": False}
            answer = service.ask("POST", "/api/generate", body, headers=headers)
            if answer.status_code == 200:
                service.receipt(answer.headers["x-request-id"])


def _pictures(
    browser: Browser,
    service: Service,
    folder: Path,
    width: int,
    height: int,
    scheme: Any,
) -> None:
    size: Any = {"width": width, "height": height}
    context = browser.new_context(base_url=service.url, viewport=size, color_scheme=scheme)
    tab = context.new_page()
    tab.goto("/ui/")
    tab.get_by_label("Key").fill(TOKEN)
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/ui/fleet")
    paths = {page.name: page.path for page in PAGES}
    paths |= {"server": "/ui/fleet/1", "model": "/ui/models/show?model=gemma3:27b"}
    for name, path in paths.items():
        tab.goto(path)
        if name == "ask":
            tab.get_by_label("Model").fill("qwen3:8b")
            tab.get_by_label("Prompt").fill("What is a fleet?")
            tab.get_by_role("button", name="Ask").click()
            tab.get_by_text("Answered by").wait_for()
        tab.wait_for_timeout(1500)  # what changes has come
        file = folder / f"{name}-{width}-{scheme}.jpg"
        tab.screenshot(path=file, type="jpeg", quality=70)
    context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
