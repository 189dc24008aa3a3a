"""The page on metrics, the board and the alert rules name the numbers that there are, no others."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import Serve, register
from tests.api.service import Service

DOCS = Path(__file__).parents[2] / "docs"
BOARD = json.loads((DOCS / "grafana.json").read_text())
RULES = yaml.safe_load((DOCS / "alerts.yml").read_text())
PAGE = (DOCS / "metrics.md").read_text()
NAME = re.compile(r"ollama_admin_\w+")
LABEL = re.compile(r"by \(([\w, ]+)\)|(\w+)\s*(?:=~|!~|!=|=)\s*\"")


@pytest.fixture
def metrics(sqlite_url: str, fakes: Serve) -> Iterator[str]:
    with Service(sqlite_url, environ={"OLLAMA_ADMIN_CHECK_EVERY": "1000s"}) as service:
        register(service, fakes("alpha"))
        body = {"model": "alpha", "messages": [{"role": "user", "content": "hi"}]}
        for stream in (True, False):
            service.ask("POST", "/v1/chat/completions", body | {"stream": stream})
        yield service.ask("GET", "/metrics").text


def alerts() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in BOARD["panels"] if panel["type"] != "row"]


def queries() -> list[str]:
    """Every expression of the board and of the rules."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    return found + [rule["expr"] for rule in alerts()]


def test_every_number_that_is_asked_for_is_there(metrics: str) -> None:
    names, labels = set[str](), {"le"}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            names.add(sample.name)
            labels |= sample.labels.keys()
    variables = [each["query"]["query"] for each in BOARD["templating"]["list"][1:]]
    asked = {name for query in queries() + variables for name in NAME.findall(query)}
    assert asked <= names
    for query in queries():
        for group, one in LABEL.findall(query):
            assert {word.strip() for word in (group or one).split(",")} <= labels, query


def test_the_page_lists_every_number(metrics: str) -> None:
    told = {}
    for family in text_string_to_metric_families(metrics):
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        if family.samples:
            told[family.name.removesuffix(suffix) + suffix] = labels
    listed = {}
    for line in PAGE.splitlines():
        if line.startswith("| `ollama_admin_"):
            name, labels = line.split("|")[1:3]
            listed[name.strip(" `")] = set(re.findall(r"`(\w+)`", labels))
    assert listed == told


def test_each_alert_says_what_and_how_bad() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)
    for rule in alerts():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]


def test_the_panels_of_the_board_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def promtool(*words: str, given: str = "") -> str:
    """What promtool says; Debian's package `prometheus` has it."""
    program = shutil.which("promtool")
    assert program is not None, "promtool is missing: apt-get install prometheus"
    ran = subprocess.run([program, *words], input=given, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@pytest.mark.system
def test_promtool_accepts_the_rules_the_queries_of_the_board_and_the_numbers(
    metrics: str, tmp_path: Path
) -> None:
    assert f"SUCCESS: {len(alerts())} rules found" in promtool(
        "check", "rules", str(DOCS / "alerts.yml")
    )
    rules = []
    for number, query in enumerate(queries()):
        expression = query.replace("$__rate_interval", "5m")
        rules.append({"record": f"query_{number}", "expr": expression})
    path = tmp_path / "board.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    promtool("check", "rules", str(path))
    promtool("check", "metrics", given=metrics)


# what each number is over half an hour in which all is well, and in which nothing is
WELL = {
    "build_info": "1+0x60",
    "database_up": "1+0x60",
    "registry_age_seconds": "0.3+0x60",
    'server_up{server="one"}': "1+0x60",
    "lookout_up": "1+0x60",
    'server_discovered_timestamp_seconds{server="one"}': "0+30x60",
    'requests_total{server="one",outcome="ok"}': "0+60x60",
    'requests_total{server="one",outcome="server_busy"}': "0+0x60",
    'queue_seconds_bucket{server="one",le="10"}': "0+60x60",
    'queue_seconds_bucket{server="one",le="120"}': "0+60x60",
    'queue_seconds_bucket{server="one",le="+Inf"}': "0+60x60",
    'time_to_first_token_seconds_bucket{server="one",model="m",le="10"}': "0+60x60",
    'time_to_first_token_seconds_bucket{server="one",model="m",le="120"}': "0+60x60",
    'time_to_first_token_seconds_bucket{server="one",model="m",le="+Inf"}': "0+60x60",
    'proofs_total{server="one",model="m",proof="digest"}': "0+60x60",
    'proofs_total{server="one",model="m",proof="drift"}': "0+0x60",
    'proofs_total{server="one",model="m",proof="unread"}': "0+0x60",
    "receipts_lost_total": "0+0x60",
}
BAD = {
    "database_up": "0+0x60",
    "registry_age_seconds": "0+30x60",
    'server_up{server="one"}': "0+0x60",
    "lookout_up": "0+0x60",
    'server_discovered_timestamp_seconds{server="one"}': "-7200+0x60",
    'requests_total{server="one",outcome="server_busy"}': "0+60x60",
    'queue_seconds_bucket{server="one",le="10"}': "0+0x60",
    'time_to_first_token_seconds_bucket{server="one",model="m",le="10"}': "0+0x60",
    'proofs_total{server="one",model="m",proof="drift"}': "0+1x60",
    'proofs_total{server="one",model="m",proof="unread"}': "0+60x60",
    "receipts_lost_total": "0+1x60",
}


def firing(series: dict[str, str], names: set[str]) -> dict[str, Any]:
    """A test of promtool: just these alerts fire at the end of the half hour."""
    given = [
        {"series": f"ollama_admin_{name}", "values": values} for name, values in series.items()
    ]
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)]
    expression = 'count by (alertname) (ALERTS{alertstate="firing"})'
    expected = [{"expr": expression, "eval_time": "30m", "exp_samples": samples}]
    return {"interval": "30s", "input_series": given, "promql_expr_test": expected}


@pytest.mark.system
def test_alerts_fire_when_something_is_wrong_and_only_then(tmp_path: Path) -> None:
    names = {rule["alert"] for rule in alerts()}
    down = {"OllamaAdminDown"}
    path = tmp_path / "alerts_test.yml"
    tests = [firing(WELL, set()), firing({}, down), firing(WELL | BAD, names - down)]
    document = {"rule_files": [str(DOCS / "alerts.yml")], "evaluation_interval": "30s"}
    path.write_text(yaml.safe_dump(document | {"tests": tests}))
    assert "SUCCESS" in promtool("test", "rules", str(path))
