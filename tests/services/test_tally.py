"""Receipts added up: each once, under a bounded number of labels."""

import json
from collections import Counter
from typing import Any

import pytest

from ollama_admin.domain.answers import Proof
from ollama_admin.domain.keys import KeyRef
from ollama_admin.domain.servers import ServerRef
from ollama_admin.services import tally as service
from ollama_admin.services.tally import Tally
from tests.receipts import new_receipt


def counted(*receipts: dict[str, Any]) -> Tally:
    tally = Tally()
    add(tally, *receipts)
    return tally


def add(tally: Tally, *receipts: dict[str, Any], added: float | None = None) -> None:
    for values in receipts:
        stats = values.pop("stats", {"load_ms": None})
        tally.take((new_receipt(stats, **values), None, added))
    tally.count()


def sums(tally: Tally, label: str) -> dict[str, int]:
    found: Counter[str] = Counter()
    for labels, line in tally.lines.items():
        found[getattr(labels, label)] += line.count
    return dict(found)


def server(number: int) -> ServerRef:
    return ServerRef(id=number, name=f"gpu-{number}", url=f"http://gpu-{number}")


def test_a_value_at_a_bound_is_in_the_bucket_below_it() -> None:
    tally = Tally()
    for seconds in (0.0001, 0.00011, 0.5, 2.0, 0.0):
        add(tally, {"model": "alpha"}, added=seconds)
    [times] = tally.times.values()
    assert times.added.counts == [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]
    assert times.added.sum == pytest.approx(2.50021)


def test_requests_are_told_apart_by_proof_outcome_key_and_server() -> None:
    alike = {"model": "alpha", "server": server(1), "proof": Proof.DIGEST}
    differing: list[dict[str, Any]] = [
        {},
        {},
        {"proof": Proof.DRIFT},
        {"outcome": "server_busy"},
        {"server": server(2)},
        {"key": KeyRef(id=1, name="team")},
    ]
    tally = counted(*(alike | values for values in differing))
    assert sorted(line.count for line in tally.lines.values()) == [1, 1, 1, 1, 2]
    assert sums(tally, "proof") == {"digest": 5, "drift": 1}


def test_what_comes_after_so_many_names_is_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_NAMES", 3)
    tally = counted(*({"model": f"m{number}", "server": server(number)} for number in range(5)))
    assert sums(tally, "model") == {"m0": 1, "m1": 1, "m2": 1, "other": 2}
    assert sums(tally, "server") == {"gpu-0": 1, "gpu-1": 1, "gpu-2": 1, "other": 2}


def test_what_comes_after_so_many_combinations_is_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_LINES", 4)
    tally = counted(
        *({"model": f"m{n % 3}", "server": server(n // 3)} for n in range(9) for _ in range(2))
    )
    assert len(tally.lines) == 5
    assert sums(tally, "model") == {"m0": 4, "m1": 2, "m2": 2, "other": 10}


def test_what_comes_after_so_many_pairs_shares_its_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_PAIRS", 2)
    tally = counted(*({"model": f"m{n % 4}"} for n in range(8)))
    counts = {pair: sum(times.first_token.counts) for pair, times in tally.times.items()}
    assert counts == {("m0", "one"): 2, ("m1", "one"): 2, ("other", "other"): 4}
    assert sums(tally, "model") == {f"m{number}": 2 for number in range(4)}


def test_servers_without_a_row_are_one_and_none_is_another() -> None:
    dynamic = [ServerRef(id=None, name=None, url=f"http://{name}") for name in ("a", "b")]
    tally = counted(*({"server": each} for each in [*dynamic, None, *dynamic]))
    assert sums(tally, "server") == {"dynamic": 4, "": 1}


def test_a_model_that_only_a_client_names_is_no_label_until_one_answers() -> None:
    made_up = {"model": "made up", "outcome": "model_not_found"}
    assert sums(counted(made_up, dict(made_up)), "model") == {"other": 2}
    tally = counted(dict(made_up), {"model": "made up"})
    add(tally, dict(made_up))
    assert sums(tally, "model") == {"other": 1, "made up": 2}


def test_what_another_process_wrote_is_added() -> None:
    first, second = (counted({"model": "alpha"}, {"model": name}) for name in ("alpha", "beta"))
    first.merge(json.loads(json.dumps(second.document())))
    assert sums(first, "model") == {"alpha": 3, "beta": 1}
    assert sum(first.times["alpha", "one"].first_token.counts) == 3
