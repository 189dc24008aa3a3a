"""Ask, Connect and Import."""

from pathlib import Path

import pytest

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.web.connect import filled, known_clients
from tests.api.conftest import Serve, register
from tests.api.service import TOKEN, Service
from tests.fake_ollama import Answer
from tests.web.browsing import new_key, signed_in
from tests.web.shown import text_of

DOCUMENT = (Path(__file__).parents[2] / "docs/clients.md").read_text()
ENV = "OLLAMA_SERVER_1_NAME=gpu-9\nOLLAMA_SERVER_1_URL=http://10.0.0.9:11434\nOTHER=1\n"


def test_an_answer_comes_with_its_receipt(api: Service, fakes: Serve) -> None:
    register(api, fakes(SimulatedModel("alpha", says="I am <b>alpha</b>\u202e & so")))
    with signed_in(api, new_key(api)) as person:
        answer = person.send("/ui/ask", {"model": "alpha", "prompt": "Who?\r\nYou."}, "/ui/ask")
        assert answer.status_code == 200
        assert "&lt;b&gt;alpha&lt;/b&gt;" in answer.text
        assert "\u202e" not in answer.text
        text = text_of(answer.text)
        assert "Answered by one, alpha" in text
        assert "proved" in text
        assert "Who? You." in text
        request_id = answer.headers["x-request-id"]
        assert f'href="/ui/requests/{request_id}"' in answer.text
        receipt = api.receipt(request_id)
        assert receipt.key is not None
        assert receipt.key.name == "team"


@pytest.mark.parametrize(
    ("fields", "status", "told"),
    [
        ({"model": "none", "prompt": "hi"}, 404, "none"),
        ({"model": "alpha", "prompt": ""}, 422, "prompt"),
        ({"model": "alpha", "prompt": "hi", "server": "two"}, 404, "two"),
    ],
)
def test_a_question_that_nobody_answers_comes_back_with_the_reason(
    sqlite_api: Service, fakes: Serve, fields: dict[str, str], status: int, told: str
) -> None:
    register(sqlite_api, fakes("alpha"))
    with signed_in(sqlite_api) as person:
        answer = person.send("/ui/ask", fields, "/ui/ask")
        assert answer.status_code == status
        assert told in text_of(answer.text)
        assert f'value="{fields["model"]}"' in answer.text


def test_an_answer_that_breaks_off_says_so(sqlite_api: Service, fakes: Serve) -> None:
    fake = fakes("alpha")
    register(sqlite_api, fake)
    lines = b'{"model":"alpha:latest","response":"half","done":false}\n{"error":"out of memory"}\n'
    broken = Answer(body=lines, content_type="application/x-ndjson")
    fake.call(lambda: fake.fakes[0].script_always("/api/generate", broken))
    with signed_in(sqlite_api) as person:
        text = text_of(person.send("/ui/ask", {"model": "alpha", "prompt": "hi"}, "/ui/ask").text)
        assert "half" in text
        assert "out of memory" in text
        assert "Answered by" not in text


def test_the_limits_of_a_key_hold_for_its_pages_too(api: Service, fakes: Serve) -> None:
    register(api, fakes("alpha"))
    with signed_in(api, new_key(api, requests_per_minute=1)) as person:
        fields = {"model": "alpha", "prompt": "hi"}
        assert person.send("/ui/ask", fields, "/ui/ask").status_code == 200
        refused = person.send("/ui/ask", fields, "/ui/ask")
        assert refused.status_code == 429
        assert "as often as it may" in text_of(refused.text)


def test_a_key_asks_on_its_pages_what_it_may_ask_elsewhere(api: Service, fakes: Serve) -> None:
    register(api, fakes("alpha", "beta"))
    with signed_in(api, new_key(api, models=["beta*"])) as person:
        page = person.get("/ui/ask").text
        assert "beta" in page
        assert "alpha" not in page
        fields = {"model": "alpha", "prompt": "hi"}
        assert person.send("/ui/ask", fields, "/ui/ask").status_code == 404


def test_who_leaves_ends_the_work(sqlite_api: Service, fakes: Serve) -> None:
    fake = fakes(SimulatedModel("alpha", endless=True))
    register(sqlite_api, fake)
    with signed_in(sqlite_api) as person:
        data = {"csrf": person.csrf("/ui/ask"), "model": "alpha", "prompt": "hi"}
        with person.http.stream("POST", "/ui/ask", data=data) as answer:
            assert any('class="answer"' in piece for piece in answer.iter_text())
        receipt = sqlite_api.receipt(answer.headers["x-request-id"])
        assert receipt.outcome != "ok"


@pytest.mark.parametrize("client", known_clients(), ids=lambda client: client["name"])
def test_a_clients_lines_are_those_of_its_documentation(client: dict[str, str]) -> None:
    lines = filled(client["lines"], "http://127.0.0.1:8421", "MODEL")
    assert f"## {client['name']}\n" in DOCUMENT
    assert lines.strip() in DOCUMENT
    assert "KEY" in lines


def test_the_lines_have_this_fleets_address_and_no_key(sqlite_api: Service, fakes: Serve) -> None:
    register(sqlite_api, fakes("alpha"))
    with signed_in(sqlite_api) as person:
        html = person.http.get("/ui/connect", params={"client": "aider"}).text
        assert f"OLLAMA_API_BASE={sqlite_api.url}" in html
        assert "ollama_chat/alpha:latest" in html
        assert TOKEN not in html
        other = person.get("/ui/connect?client=none&model=<script>").text
        assert "<script>`" not in other
        assert f"{sqlite_api.url}/k/KEY" in other
        person.http.headers["Referer"] = sqlite_api.url.replace("http:", "https:") + "/ui/"
        assert f"https://127.0.0.1:{sqlite_api.port}" in person.get("/ui/connect").text


def test_a_pasted_file_is_planned_and_then_applied(api: Service) -> None:
    assert api.opened is not None
    with signed_in(api, new_key(api, can=["manage"])) as person:
        fields = {"text": ENV, "do": "plan"}
        planned = person.send("/ui/import/plan", fields, "/ui/import")
        assert planned.status_code == 200
        assert "gpu-9" in text_of(planned.text)
        assert "Apply it" in planned.text
        assert api.run(api.opened.servers.list()) == []
        applied = person.send("/ui/import/plan", fields | {"do": "apply"}, "/ui/import")
        assert applied.headers["location"] == "/ui/fleet"
        assert "1 servers were made or changed" in text_of(person.get("/ui/fleet").text)
        [row] = api.run(api.opened.servers.list())
        assert (row.name, row.url) == ("gpu-9", "http://10.0.0.9:11434")
    [entry] = [one for one in api.run(api.opened.audit.list()) if one.action == "import-env"]
    assert (entry.who, entry.subject) == ("team", "pasted.env")


@pytest.mark.parametrize(
    "text",
    [
        "A='\nOLLAMA_SERVER_1_URL=http://x",
        "a\0b",
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
)
def test_a_text_that_cannot_be_read_is_told_and_nothing_is_written(
    sqlite_api: Service, text: str
) -> None:
    assert sqlite_api.opened is not None
    with signed_in(sqlite_api) as person:
        for do in ("plan", "apply"):
            answer = person.send("/ui/import/plan", {"text": text, "do": do}, "/ui/import")
            assert answer.status_code in (200, 303, 422)
        assert sqlite_api.run(sqlite_api.opened.servers.list()) == []


def test_a_secret_that_was_pasted_is_in_no_plan(sqlite_api: Service) -> None:
    secret = "canary-of-the-import"
    text = ENV + f"OLLAMA_SERVER_1_AUTH_TYPE=bearer\nOLLAMA_SERVER_1_TOKEN={secret}\n"
    with signed_in(sqlite_api) as person:
        html = person.send("/ui/import/plan", {"text": text, "do": "plan"}, "/ui/import").text
        table = html.partition("<table>")[2].partition("</table>")[0]
        assert secret not in table
        assert html.count(secret) == 1  # what was typed is still in the field
