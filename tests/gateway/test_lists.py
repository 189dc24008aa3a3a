"""What the whole fleet holds, as one list."""

from tests.api.conftest import Serve, register
from tests.api.service import Service
from tests.fake_ollama import Answer
from tests.gateway.answers import MODEL
from tests.gateway.test_demands import NEW, OLD, point


def listed(service: Service) -> dict[str, str]:
    return {
        entry["name"]: entry["digest"] for entry in service.ask("GET", "/api/tags").json()["models"]
    }


def test_a_model_is_listed_as_its_server_lists_it(sqlite_api: Service, fakes: Serve) -> None:
    fake = fakes(OLD)
    register(sqlite_api, fake)
    point(fake, NEW)
    assert listed(sqlite_api) == {f"{MODEL}:latest": NEW.digest}


def test_a_model_of_a_server_that_is_away_is_listed_as_it_was_discovered(
    sqlite_api: Service, fakes: Serve
) -> None:
    fake = fakes(OLD)
    register(sqlite_api, fake)
    fake.fakes[0].script_always("/api/tags", Answer(status=503))
    assert listed(sqlite_api) == {f"{MODEL}:latest": OLD.digest}
