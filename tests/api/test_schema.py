"""Any request whatever: nothing but what the OpenAPI document says, and never a failure of ours.

`make fuzz` takes a thousand examples of each operation, new ones each time.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from ollama_admin.api.app import create_app
from ollama_admin.client import Client
from ollama_admin.domain.callers import OWNER
from ollama_admin.gateway.limits import Limits
from ollama_admin.ollama.connecting import Times
from ollama_admin.simulator.model import SimulatedModel
from tests.api.conftest import migrate, register
from tests.api.service import AUTHORIZED, Service
from tests.fake_ollama import FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread

IMPATIENT = Times(connect=0.2, metadata=0.5, first_byte=1.0, idle=1.0)


def document() -> dict[str, Any]:
    client = Client(database_url="sqlite:////nowhere.db", environ={})
    return create_app(client, Limits(), OWNER).openapi()


schema = schemathesis.openapi.from_dict(document())
# Rules that JSON Schema cannot tell: a name's characters, what an auth type needs, a server that is
# named and absent, the state of a row.
schema.config.checks.positive_data_acceptance.expected_statuses += ["412", "422"]
# Where the document has them, and nowhere else: status_code_conformance looks at that.
schema.config.checks.not_a_server_error.expected_statuses += ["502", "503"]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """One service for all examples, with a server that answers; requests to others end at once."""
    if request.param == "postgresql":
        url = request.getfixturevalue("template_databases").copy(migrate)
    else:
        template: Path = request.getfixturevalue("migrated_sqlite_file")
        url = f"sqlite:///{shutil.copy(template, tmp_path_factory.mktemp('fuzz') / 'one.db')}"
    environ = {"OLLAMA_ADMIN_DYNAMIC_SERVERS": "registered"}
    with (
        FakeOllamaThread(FakeOllama(SimulatedModel("alpha"))) as fake,
        Service(url, environ=environ, times=IMPATIENT) as opened,
    ):
        register(opened, fake, is_default=True)
        yield opened


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """Connections that are used again: making one for each example would take half of the time."""
    with requests.Session() as opened:
        opened.trust_env = False
        yield opened


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Servers at which nobody listens: names of the internet are no business of a test."""
    if isinstance(body, dict) and isinstance(body.get("url"), str) and "." in body["url"]:
        body["url"] = f"http://127.0.0.1:1/{len(body['url'])}"
    return body


@schemathesis.hook
def filter_query(context: Any, query: Any) -> bool:
    """Not what is wrong only until it is written down: an empty list or object, or null, leaves no
    trace in a URL.
    """
    return not any(value is None or value in ([], {}) for value in dict(query or {}).values())


@schema.parametrize()
@settings(
    max_examples=1000 if settings.get_current_profile_name() == "fuzz" else 20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
def test_any_request_is_answered_as_the_document_says(
    case: schemathesis.Case, service: Service, session: requests.Session
) -> None:
    case.call_and_validate(base_url=service.url, session=session, headers=AUTHORIZED, timeout=20)
