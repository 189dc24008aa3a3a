"""Prompts and answers pass through: no database, log, file, error or verbose output keeps a word of
them (T20).
"""

import logging
import traceback
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from ollama_admin.client import Client
from ollama_admin.errors import AdminError
from ollama_admin.simulator.model import SimulatedModel
from tests.cli.conftest import Serve
from tests.cli.running import Cli
from tests.fake_ollama import Answer, CutAfter, FakeOllama, Fault, Raw

WORDS = {
    what: f"{what}K4n4ry" for what in ("prompt", "system", "answer", "thinking", "image", "format")
}
SAYING = SimulatedModel(
    "alpha",
    says=f"it is {WORDS['answer']}",
    thinking=WORDS["thinking"],
    capabilities=("completion", "vision", "thinking"),
)
ASKED = {
    "prompt": f"tell me {WORDS['prompt']}",
    "system": WORDS["system"],
    "images": (b"\x89PNG" + WORDS["image"].encode(),),
    "format": {"type": "object", "description": WORDS["format"]},
}
RECORD = b'{"model":"alpha:latest","response":"%s","done":false}\n' % WORDS["answer"].encode()
FAILURES: dict[str, Fault] = {
    "a refusal": Answer(500, {"error": "no"}),
    "credentials wanted": Answer(401, "no"),
    "a busy server": Answer(503, "no"),
    "too long": Answer(400, {"error": {"message": "too long", "n_prompt_tokens": 9, "n_ctx": 2}}),
    "cut in the answer": CutAfter(230),
    "no end mark": Raw((b"HTTP/1.1 200 OK\r\n\r\n" + RECORD,)),
    "junk after a record": Raw((b"HTTP/1.1 200 OK\r\n\r\n" + RECORD + b"<html>\n",)),
    "another model": Raw((b"HTTP/1.1 200 OK\r\n\r\n" + RECORD.replace(b"alpha:", b"beta:"),)),
}


def kept(database_url: str, folder: Path) -> str:
    """Everything in the database, and in every file below the folder."""
    found = [path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()]
    if database_url.startswith("postgresql"):
        engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as connection:
            for table in inspect(engine).get_table_names():
                found += map(str, connection.execute(text(f'SELECT * FROM "{table}"')).all())
        engine.dispose()
    whole = "\n".join(found)
    assert "alpha:latest" in whole, "the model is not there: the wrong place was looked at"
    return whole


def assert_none(told: str) -> None:
    assert [word for word in WORDS.values() if word.casefold() in told.casefold()] == []


async def test_no_word_of_prompt_or_answer_is_stored_or_logged(
    client: Client,
    database_url: str,
    tmp_path: Path,
    notes: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors = []
    async with FakeOllama(SAYING) as fake:
        await client.servers.add(name="gpu", url=fake.url)
        await client.discover()
        for name in ("", "httpx", "httpcore", "asyncio", "sqlalchemy", "psycopg", "ollama_admin"):
            # after our client has silenced what it can
            caplog.set_level(logging.DEBUG, logger=name)
        for think in (None, True):
            reply = await client.generate(model="alpha", server="gpu", think=think, **ASKED)
            assert WORDS["answer"] in reply.response
        for fault in FAILURES.values():
            fake.script("/api/generate", fault)
            with pytest.raises(AdminError) as caught:
                await client.generate(model="alpha", server="gpu", **ASKED)
            errors.append(caught.value)
        for wrong in (
            {"model": "unknown"},
            {"model": "alpha", "keep_alive": "soon"},
            {"timeout": 0.0},
        ):
            with pytest.raises(AdminError) as caught:
                await client.generate(**ASKED, **wrong)
            errors.append(caught.value)
        await client.servers.check()
        await client.discover()
        assert WORDS["prompt"] in str([request.body for request in fake.requests])
    assert "sqlalchemy" in caplog.text  # libraries tell what they do
    assert_none(caplog.text)
    assert_none("".join(line for error in errors for line in traceback.format_exception(error)))
    assert_none(" ".join(f"{error.message} {error.hint}" for error in errors) + str(notes))
    assert_none(kept(database_url, tmp_path))


@pytest.mark.parametrize("mode", [(), ("-v",), ("-o", "json", "-v")], ids=str)
def test_the_command_line_tells_of_a_failure_without_the_prompt(
    cli: Cli, database_url: str, serve: Serve, tmp_path: Path, mode: tuple[str, ...]
) -> None:
    fake = serve(SAYING)
    assert cli("server", "add", "gpu", fake.url, "--discover").exit_code == 0
    words = [*mode, "generate", "-m", "alpha", "--system", WORDS["system"]]
    good = cli(*words, stdin=WORDS["prompt"])
    assert WORDS["answer"] in good.stdout
    assert_none(good.stderr)
    for fault in FAILURES.values():
        fake.call(lambda fault=fault: fake.fakes[0].script("/api/generate", fault))
        ran = cli(*words, stdin=WORDS["prompt"])
        assert ran.exit_code == 6
        assert_none(ran.stderr)
    assert_none(kept(database_url, tmp_path))
