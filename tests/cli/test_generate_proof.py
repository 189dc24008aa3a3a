"""`ollama-admin generate`: which build answers, what is said when it is another one, and which
server would answer.
"""

import pytest

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.server import HoldAt
from tests.cli.conftest import Serve, Spawn
from tests.cli.running import SECONDS, Cli
from tests.fake_ollama import Answer, Raw
from tests.fake_ollama_thread import FakeOllamaThread

OLD, NEW = SimulatedModel("alpha", build="old"), SimulatedModel("alpha", build="new")
CANDIDATE_KEYS = [
    *(
        "server",
        "eligible",
        "reason",
        "digest",
        "priority",
        "slots_in_use",
        "max_concurrent",
        "status",
    ),
    *("catalogue_age_s", "preference"),
]


def add(cli: Cli, name: str, fake: FakeOllamaThread, *options: str) -> None:
    assert cli("server", "add", name, fake.url, "--no-check", *options).exit_code == 0
    assert cli("discover", name).exit_code == 0


def prompts(fake: FakeOllamaThread) -> int:
    return sum(request.path == "/api/generate" for request in fake.requests())


@pytest.fixture
def moved(cli: Cli, serve: Serve) -> FakeOllamaThread:
    """A registered server whose model stands for another build than the one discovered."""
    fakes = serve(OLD)
    add(cli, "gpu", fakes)
    fakes.call(lambda: fakes.fakes[0].point("alpha", NEW))
    return fakes


def test_moved_build_is_answered_with_a_note_and_named_in_json(
    cli: Cli, moved: FakeOllamaThread
) -> None:
    ran = cli("generate", "-m", "alpha", "hi")
    assert (ran.exit_code, ran.stdout) == (0, "I am alpha")
    assert ran.stderr == (
        f"note: model alpha:latest on server gpu is now build {NEW.digest[:12]}, not "
        f"{OLD.digest[:12]}: "
        "it was moved; to accept it run: ollama-admin discover gpu\n"
    )
    reply = cli.json("generate", "-m", "alpha", "hi").data
    assert (reply["proof"], reply["verified"], reply["digest"]) == ("drift", False, NEW.digest)
    assert reply["drift"] == {"from": OLD.digest, "to": NEW.digest}


@pytest.mark.parametrize(
    "demand", [["--verified"], ["--digest", OLD.digest[:12]], ["--digest", f"sha256:{OLD.digest}"]]
)
def test_demanded_build_that_moved_is_refused_before_anything_is_sent(
    cli: Cli, moved: FakeOllamaThread, demand: list[str]
) -> None:
    ran = cli.json("generate", "-m", "alpha", "hi", *demand)
    assert ran.failure == (6, "model_mismatch")
    assert prompts(moved) == 0


def test_build_that_moves_while_it_answers_fails_after_the_text_where_it_is_demanded(
    cli: Cli, serve: Serve, spawn: Spawn
) -> None:
    hold = HoldAt(1)
    fakes = serve(OLD, before_token=hold)
    add(cli, "gpu", fakes)
    process = spawn("generate", "-m", "alpha", "hi", "--verified")
    fakes.run(hold.reached.wait(), SECONDS)
    fakes.call(lambda: fakes.fakes[0].point("alpha", NEW))
    fakes.call(hold.release.set)
    ran = process.ended()
    assert (ran.exit_code, ran.stdout) == (6, "I am alpha")
    assert "moved or removed while it answered" in ran.stderr
    assert "was demanded" in ran.stderr


def test_unaccepted_text_is_not_shown_without_streaming(
    cli: Cli, serve: Serve, spawn: Spawn
) -> None:
    hold = HoldAt(1)
    fakes = serve(OLD, before_token=hold)
    add(cli, "gpu", fakes)
    process = spawn("generate", "-m", "alpha", "hi", "--verified", "--no-stream")
    fakes.run(hold.reached.wait(), SECONDS)
    fakes.call(lambda: fakes.fakes[0].point("alpha", NEW))
    fakes.call(hold.release.set)
    ran = process.ended()
    assert (ran.exit_code, ran.stdout) == (6, "")


def test_demand_and_none_exclude_each_other(cli: Cli, moved: FakeOllamaThread) -> None:
    for words in (
        ["--verified", "--no-verify"],
        ["--digest", "a" * 12, "--verified"],
        ["--digest", "abc"],
    ):
        assert cli.json("generate", "-m", "alpha", "hi", *words).failure == (2, "invalid_input")
    assert cli.json("generate", "-m", "alpha", "hi", "--no-verify").data["proof"] == "name"


def test_attempts_tell_each_try_and_why_it_failed(cli: Cli, serve: Serve) -> None:
    one, two = serve(OLD), serve(OLD)
    add(cli, "one", one)
    add(cli, "two", two)
    one.call(lambda: one.fakes[0].script("/api/generate", Answer(502, "<html>bad gateway</html>")))
    ran = cli.json("generate", "-m", "alpha", "hi")
    assert ran.data["server"]["name"] == "two"
    (attempt,) = ran.data["attempts"]
    assert attempt.keys() == {"server", "error", "ms"}
    assert attempt["server"] == {"id": 1, "name": "one", "url": one.url}
    assert attempt["error"]["code"] == "upstream_error"
    assert ran.stderr == (
        "note: server one answered 502 to /api/generate; asking another server that holds the same "
        "build\n"
    )


def test_server_without_a_runner_passes_on_and_one_that_read_the_prompt_and_left_does_not(
    sqlite_cli: Cli, serve: Serve
) -> None:
    one, two = serve(OLD), serve(OLD)
    add(sqlite_cli, "one", one)
    add(sqlite_cli, "two", two)
    gone = Answer(500, {"error": "llama-server process has terminated: exit status 1"})
    one.call(lambda: one.fakes[0].script("/api/generate", gone))
    assert sqlite_cli.json("generate", "-m", "alpha", "hi").data["server"]["name"] == "two"
    two.call(lambda: two.fakes[0].script("/api/generate", Raw()))  # the other one is asked last now
    left = sqlite_cli.json("generate", "-m", "alpha", "hi")
    assert left.failure == (6, "server_unreachable")
    assert "server two" in left.error["message"]
    assert len(one.fakes[0].requests_to("/api/generate")) == 1


def test_full_server_refuses_at_once_with_wait_0(cli: Cli, serve: Serve, spawn: Spawn) -> None:
    hold = HoldAt(1)
    fakes = serve(OLD, before_token=hold)
    add(cli, "gpu", fakes)
    process = spawn("generate", "-m", "alpha", "hi")
    fakes.run(hold.reached.wait(), SECONDS)
    assert cli.json("server", "show", "gpu").data["slots_in_use"] == 1
    ran = cli.json("generate", "-m", "alpha", "hi", "--wait", "0")
    assert ran.failure == (6, "server_busy")
    assert "at its limit of 1 request" in ran.error["message"]
    fakes.call(hold.release.set)
    assert process.ended().exit_code == 0
    assert cli.json("server", "show", "gpu").data["slots_in_use"] == 0


def test_server_that_answers_is_removed_only_by_force_and_its_answer_ends_as_it_would(
    cli: Cli, serve: Serve, spawn: Spawn
) -> None:
    hold = HoldAt(1)
    fakes = serve(OLD, before_token=hold)
    add(cli, "gpu", fakes)
    process = spawn("generate", "-m", "alpha", "hi")
    fakes.run(hold.reached.wait(), SECONDS)
    refused = cli.json("server", "remove", "gpu", "--yes")
    assert refused.failure == (4, "conflict")
    assert refused.error["message"] == "1 request runs at server gpu, or did a second ago"
    assert cli("server", "remove", "gpu", "--yes", "--force").exit_code == 0
    fakes.call(hold.release.set)
    ran = process.ended()
    assert (ran.exit_code, ran.stdout) == (0, "I am alpha")


# explaining


def test_explanation_has_the_keys_that_scripts_read(
    cli: Cli, moved: FakeOllamaThread, serve: Serve
) -> None:
    add(cli, "other", serve("beta"), "--priority", "-1")
    found = cli.json("generate", "--explain", "-m", "alpha").data
    gpu = {"id": 1, "name": "gpu", "url": moved.url}
    assert found["chosen"] == {"server": gpu, "digest": OLD.digest}
    assert [list(candidate) for candidate in found["candidates"]] == [CANDIDATE_KEYS] * 2
    first, second = found["candidates"]
    assert isinstance(first.pop("catalogue_age_s"), int)
    assert first == {
        "server": gpu,
        "eligible": True,
        "reason": None,
        "digest": OLD.digest,
        "priority": 0,
        "slots_in_use": 0,
        "max_concurrent": 1,
        "status": "online",
        "preference": [],
    }
    assert (second["eligible"], second["reason"], second["digest"]) == (
        False,
        "it does not list the model",
        None,
    )
    assert prompts(moved) == 0


def test_explanation_is_a_table_with_a_reason_for_every_server(cli: Cli, serve: Serve) -> None:
    add(cli, "one", serve(OLD))
    add(cli, "two", serve(NEW))
    ran = cli("generate", "--explain", "-m", "alpha")
    heading, one, two = ran.stdout.splitlines()
    assert heading.split() == ["SERVER", "ANSWERS", "DIGEST", "USED", "STATUS", "DISCOVERED", "WHY"]
    assert one.split()[:4] == ["one", "yes", OLD.digest[:12], "0/1"]
    assert two.split()[:3] == ["two", "no", NEW.digest[:12]]
    assert two.endswith(f"its build is {NEW.digest[:12]}, that of one is {OLD.digest[:12]}")


def test_explanation_needs_no_prompt_and_reads_no_stdin(cli: Cli, moved: FakeOllamaThread) -> None:
    ran = cli("generate", "--explain", "-m", "nothing", stdin=b"\xff")
    answered = cli("generate", "-m", "nothing", "hi")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (3, "", answered.stderr)
    assert "no active server has model 'nothing'" in ran.stderr
    assert cli.json("generate", "--explain", "-m", "nothing").failure == (3, "model_not_found")


def test_explanation_of_a_model_that_only_an_inactive_server_lists_is_one(
    cli: Cli, moved: FakeOllamaThread
) -> None:
    assert cli("server", "disable", "gpu").exit_code == 0
    ran = cli("generate", "--explain", "-m", "alpha")
    assert (ran.exit_code, ran.stderr) == (0, "note: no server would answer\n")
    assert "it is inactive" in ran.stdout


def test_explanation_says_what_speaks_for_each_of_equal_servers(cli: Cli, serve: Serve) -> None:
    add(cli, "one", serve(OLD), "--max-concurrent", "2")
    add(cli, "two", serve(OLD), "--max-concurrent", "4")
    add(cli, "last", serve(OLD), "--priority", "-1")
    found = cli.json("generate", "--explain", "-m", "alpha").data
    assert [(one["server"]["name"], one["preference"]) for one in found["candidates"]] == [
        ("one", ["2 of 2 slots free"]),
        ("two", ["4 of 4 slots free"]),
        ("last", []),
    ]
    _, one, two, last = cli("generate", "--explain", "-m", "alpha").stdout.splitlines()
    assert one.endswith("2 of 2 slots free")
    assert two.endswith("4 of 4 slots free")
    assert last.split()[:2] == ["last", "next"]
