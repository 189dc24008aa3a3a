"""`ollama-admin embed`"""

import json

from ollama_admin.simulator.vectors import vector
from tests.cli.conftest import Serve
from tests.cli.running import Cli
from tests.cli.test_diff import discovered


def printed(text: str) -> list[list[float]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_vector_is_a_line_of_json(cli: Cli, serve: Serve) -> None:
    discovered(cli, one=serve("alpha").url)
    ran = cli("embed", "-m", "alpha", "Why", "not?")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert printed(ran.stdout) == [vector("Why not?")]
    assert cli("embed", "alpha", "Why not?").stdout == ran.stdout


def test_json_tells_who_made_it(cli: Cli, serve: Serve) -> None:
    discovered(cli, one=serve("alpha").url)
    document = cli.json("embed", "-m", "alpha", "-s", "one", "hi").data
    assert document["embeddings"] == [vector("hi")]
    assert (document["model"], document["server"]["name"]) == ("alpha:latest", "one")
    assert (document["proof"], document["verified"]) == ("digest", True)


def test_text_comes_in_by_a_pipe(cli: Cli, serve: Serve) -> None:
    discovered(cli, one=serve("alpha").url)
    assert printed(cli("embed", "-m", "alpha", stdin="a\nb").stdout) == [vector("a\nb")]
    assert printed(cli("embed", "-m", "alpha", "x", stdin="y").stdout) == [vector("x\ny")]
    ran = cli("embed", "-m", "alpha", "x", "--no-stdin", stdin="y")
    assert printed(ran.stdout) == [vector("x")]


def test_each_line_is_a_text_where_that_is_asked_for(cli: Cli, serve: Serve) -> None:
    discovered(cli, one=serve("alpha").url)
    ran = cli("embed", "-m", "alpha", "--lines", stdin="a\n\n b\u2028c\n")
    assert printed(ran.stdout) == [vector("a"), vector(" b\u2028c")]
    assert cli.json("embed", "-m", "alpha", "--lines", stdin="\n\n").failure == (2, "invalid_input")


def test_the_rules_of_generate_hold(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    discovered(cli, one=fake.url)
    assert cli.json("embed", "-m", "beta", "hi").failure == (3, "model_not_found")
    assert cli.json("embed", "-m", "alpha", stdin="").failure == (2, "invalid_input")
    assert cli.json("embed", "-m", "alpha", "--auth", "bearer", "hi").failure == (
        2,
        "invalid_input",
    )
    ran = cli("embed", "alpha", stdin="")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "ollama-admin embed alpha PROMPT" in ran.stderr
    assert "/api/embed" not in [request.path for request in fake.requests()]
