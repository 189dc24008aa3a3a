"""`/api/fleet/activity`, and `top --url`, which reads it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from ollama_admin.simulator.model import SimulatedModel
from tests.api.conftest import Serve, register
from tests.api.service import SECONDS, TOKEN, Service
from tests.cli.running import Cli
from tests.fake_ollama import Silence

GENERATE = "/api/generate"


def test_a_request_on_its_way_is_told_with_its_key(
    api: Service, fakes: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    fake = fakes(SimulatedModel("alpha"))
    register(api, fake)
    silence = Silence()
    fake.fakes[0].script(GENERATE, silence)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(api.ask, "POST", GENERATE, {"model": "alpha", "prompt": "hi"})
        fake.run(silence.arrived.wait(), SECONDS)
        document = api.ask("GET", "/api/fleet/activity").json()
        [request] = document["requests"]
        assert (request["model"], request["server"]["name"]) == ("alpha:latest", "one")
        assert request["key"] == {"id": None, "name": "OLLAMA_ADMIN_API_TOKEN"}
        assert document["servers"][0]["in_flight"] == 1
        monkeypatch.setenv("OLLAMA_ADMIN_API_TOKEN", TOKEN)
        monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", f"sqlite:///{tmp_path}/no.db")
        ran = Cli()("top", "--once", "--url", api.url)
        assert ran.exit_code == 0
        assert "OLLAMA_ADMIN_API_TOKEN" in ran.stdout
        monkeypatch.setenv("OLLAMA_ADMIN_API_TOKEN", "x" * 40)
        assert Cli().json("top", "--url", api.url).failure == (6, "server_unauthorized")
        api.stop()
        asked.result(SECONDS)
