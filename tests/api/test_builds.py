"""`/api/fleet/diff` and `/api/fleet/outdated`: the same JSON as the commands'."""

from ollama_admin.simulator.model import SimulatedModel
from tests.api.conftest import Serve, register
from tests.api.service import Service
from tests.fake_ollama_thread import FakeOllamaThread
from tests.model_registry import ModelRegistry, digest_of, encoded, manifest_of

LLAMA = "llama3.2:3b"
OLD, NEW = manifest_of("old"), manifest_of("new")


def test_two_servers_are_compared(api: Service, fakes: Serve) -> None:
    register(api, fakes("alpha", "left"), fakes("alpha"))
    answer = api.ask("GET", "/api/fleet/diff?left=one&right=2")
    assert answer.status_code == 200
    document = answer.json()
    assert list(document) == [
        *("left", "right", "only_left", "only_right", "different", "unknown", "same")
    ]
    assert (document["only_left"], document["same"]) == (["left:latest"], 1)
    assert api.ask("GET", "/api/fleet/diff?left=one&right=none").status_code == 404
    assert api.ask("GET", "/api/fleet/diff?left=one").status_code == 422


def test_installed_builds_are_compared_with_the_registry(api: Service, fakes: Serve) -> None:
    register(api, fakes(SimulatedModel(LLAMA, digest_of(OLD))))
    with FakeOllamaThread(ModelRegistry(**{f"library/{LLAMA}": encoded(NEW)})) as registry:
        asked = {"models": ["llama*"], "registry": registry.url}
        answer = api.ask("POST", "/api/fleet/outdated", asked)
    assert answer.status_code == 200
    [result] = answer.json()["results"]
    assert (result["state"], result["digest"]) == ("outdated", digest_of(NEW))
    assert answer.json()["failed"] == 0
    answer = api.ask("POST", "/api/fleet/outdated", asked)
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "server_unreachable"


def test_a_registry_can_be_named_only_where_any_url_can(sqlite_url: str) -> None:
    environ = {"OLLAMA_ADMIN_DYNAMIC_SERVERS": "registered"}
    with Service(sqlite_url, environ=environ) as service:
        answer = service.ask("POST", "/api/fleet/outdated", {"registry": "http://127.0.0.1:9"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_input")


def test_no_registry_at_a_metadata_address_is_asked(api: Service, fakes: Serve) -> None:
    register(api, fakes(LLAMA))
    answer = api.ask("POST", "/api/fleet/outdated", {"registry": "http://169.254.169.254"})
    assert answer.json()["error"]["code"] == "address_refused"
