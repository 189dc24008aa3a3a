"""`/metrics`: numbers that agree with the receipts, of a bounded number of labels."""

import os
import signal
import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import create_engine, text

from ollama_admin.simulator.model import SimulatedModel
from tests.api.conftest import Serve, register
from tests.api.service import AUTHORIZED, SECONDS, Service
from tests.api.test_serve import Spawn, ask, started
from tests.api.test_workers import WORKERS, children, generate
from tests.fake_ollama import FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread

CHAT = "/v1/chat/completions"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(body: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(body):
        for sample in family.samples:
            found[sample.name, frozenset(sample.labels.items())] = sample.value
    return found


def scraped(api: Service) -> Samples:
    answer = api.ask("GET", "/metrics")
    assert answer.status_code == 200
    return samples(answer.text)


def by(numbers: Samples, name: str, *labels: str) -> Counter[tuple[str, ...]]:
    """The sums of a metric by some of its labels, without the zeros."""
    sums: Counter[tuple[str, ...]] = Counter()
    for (sample, given), value in numbers.items():
        if sample == f"ollama_admin_{name}":
            values = dict(given)
            sums[tuple(values[label] for label in labels)] += int(value)
    return +sums


def one(numbers: Samples, name: str, **labels: str) -> float:
    return numbers[f"ollama_admin_{name}", frozenset(labels.items())]


def chat(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}


def test_after_a_load_the_numbers_are_those_of_the_receipts_to_the_request(
    api: Service, database_url: str, fakes: Serve
) -> None:
    register(api, fakes("alpha", "beta"), fakes("alpha"), max_concurrent=4)
    made = api.ask("POST", "/api/keys", {"name": "team", "can": ["ask"]}).json()["key"]

    def load(number: int) -> None:
        headers = {"Authorization": f"Bearer {made}"} if number % 3 else AUTHORIZED
        model = ("alpha", "beta", "gamma")[number % 3 if number % 7 else 2]
        body = chat(model, stream=bool(number % 2))
        httpx.post(api.url + CHAT, json=body, headers=headers, timeout=SECONDS)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(load, range(100)))
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    query = text(
        "SELECT model, server_name, key_name, outcome, proof, prompt_tokens, output_tokens,"
        " queued_ms FROM ollama_receipts"
    )
    ends = time.monotonic() + SECONDS
    while True:  # a receipt is counted when its proof is there, and then written
        with engine.connect() as connection:
            rows = connection.execute(query).all()
        numbers = scraped(api)
        if len(rows) == sum(by(numbers, "requests_total", "outcome").values()) == 100:
            break
        assert time.monotonic() < ends
        time.sleep(0.05)
    engine.dispose()
    requests = Counter((row[0] or "", row[1] or "", row[2], row[3]) for row in rows)
    assert by(numbers, "requests_total", "model", "server", "key", "outcome") == requests
    proofs = Counter((row[4] or "none",) for row in rows)
    assert by(numbers, "proofs_total", "proof") == proofs
    tokens = {("prompt",): sum(row[5] or 0 for row in rows)}
    tokens["output",] = sum(row[6] or 0 for row in rows)
    assert by(numbers, "tokens_total", "kind") == tokens
    sent = sum(row[7] is not None for row in rows)
    assert by(numbers, "queue_seconds_count").total() == sent
    assert by(numbers, "added_seconds_count").total() == sent
    assert (one(numbers, "receipts_unwritten"), one(numbers, "receipts_lost_total")) == (0, 0)


def test_the_state_of_the_fleet_is_told(api: Service, fakes: Serve) -> None:
    register(api, fakes("alpha"), max_concurrent=3)
    api.ask(
        "POST", "/api/servers", {"name": "off", "url": "http://127.0.0.1:9", "is_active": False}
    )
    api.ask("POST", CHAT, chat("alpha"))
    numbers = scraped(api)
    assert one(numbers, "database_up") == one(numbers, "servers") == one(numbers, "workers") == 1
    assert one(numbers, "server_up", server="one") == 1
    assert one(numbers, "server_slots", server="one") == 3
    assert one(numbers, "slots_running", server="one") == 0
    assert one(numbers, "registry_age_seconds") < 60
    assert 0 <= time.time() - one(numbers, "server_discovered_timestamp_seconds", server="one") < 60
    assert not any(dict(labels).get("server") == "off" for _, labels in numbers)
    assert not any(name == "ollama_admin_lookout_up" for name, _ in numbers)  # it is off here


def test_what_clients_write_is_no_label(api: Service, fakes: Serve) -> None:
    register(api, fakes("alpha"))
    for number in range(5):
        secret = f"canary-{number}"
        api.ask("POST", f"/servers/one{CHAT}", chat(secret), headers={"User-Agent": secret})
        api.ask("POST", CHAT, chat(secret))
        httpx.post(f"{api.url}/k/{secret}{CHAT}", json=chat("alpha"))
    answer = api.ask("GET", "/metrics")
    assert "canary" not in answer.text
    assert by(samples(answer.text), "requests_total", "model") == {("other",): 5, ("",): 5}


def test_a_key_that_may_read_scrapes_and_no_other(api: Service) -> None:
    for rights, status in ((["ask"], 403), (["read"], 200)):
        key = api.ask("POST", "/api/keys", {"name": rights[0], "can": rights}).json()["key"]
        bearer = {"Authorization": f"Bearer {key}"}
        assert httpx.get(f"{api.url}/metrics", headers=bearer).status_code == status
    assert httpx.get(f"{api.url}/metrics").status_code == 401


def test_openmetrics_is_given_to_who_accepts_it(api: Service) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = api.ask("GET", "/metrics", headers=AUTHORIZED | accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_without_its_database_the_service_still_tells_its_own_numbers(
    sqlite_api: Service, sqlite_url: str, fakes: Serve
) -> None:
    register(sqlite_api, fakes("alpha"))
    sqlite_api.ask("POST", CHAT, chat("alpha"))
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        connection.execute("ALTER TABLE ollama_servers RENAME TO away")
    numbers = scraped(sqlite_api)
    assert one(numbers, "database_up") == 0
    assert by(numbers, "requests_total", "outcome") == {("ok",): 1}
    assert not any(name == "ollama_admin_server_up" for name, _ in numbers)


def test_workers_tell_their_sum_and_what_a_killed_one_counted_stays(
    sqlite_url: str, spawn: Spawn
) -> None:
    with FakeOllamaThread(FakeOllama(SimulatedModel("alpha"))) as fakes:
        process, url = started(spawn, sqlite_url, *WORKERS)
        ask(url, "POST", "/api/servers", {"name": "one", "url": fakes.url, "max_concurrent": 8})
        ask(url, "POST", "/api/discover")
        with ThreadPoolExecutor(10) as threads:
            answers = list(threads.map(lambda _: generate(url), range(40)))
        assert {answer.status_code for answer in answers} == {200}
        until_counted(url, 40)
        os.kill(children(process)[1], signal.SIGKILL)
        process.until_stderr(b"takes its place\n")
        until_counted(url, 40)


def until_counted(url: str, count: int) -> None:
    """Each of the workers may answer, and knows of the others a second later."""
    ends = time.monotonic() + SECONDS
    agreed = 0
    while agreed < 5:
        numbers = samples(ask(url, "GET", "/metrics").text)
        told = by(numbers, "requests_total", "outcome")
        agreed = agreed + 1 if told == {("ok",): count} else 0
        assert told.total() <= count
        assert time.monotonic() < ends
        time.sleep(0.05)
