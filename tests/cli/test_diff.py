"""`ollama-admin diff`"""

from ollama_admin.simulator.model import SimulatedModel
from tests.cli.conftest import Serve
from tests.cli.running import Cli
from tests.cli.test_discover import add


def discovered(cli: Cli, **urls: str) -> None:
    for name, url in urls.items():
        add(cli, name, url)
    assert cli("discover").exit_code == 0


def test_diff_tells_what_only_one_server_has_and_whose_builds_differ(
    cli: Cli, serve: Serve
) -> None:
    old, new = SimulatedModel("beta:2b", build="1"), SimulatedModel("beta:2b", build="2")
    left, right = serve("alpha", old, "left"), serve("alpha", new, "right")
    discovered(cli, one=left.url, two=right.url)
    ran = cli.json("diff", "one", "2")
    assert ran.exit_code == 7
    assert cli.json("diff", "one", "one").failure == (2, "invalid_input")
    refs = [{"id": 1, "name": "one", "url": left.url}, {"id": 2, "name": "two", "url": right.url}]
    assert ran.stderr == ""
    assert ran.json_of_any_end == {
        "left": refs[0],
        "right": refs[1],
        "only_left": ["left:latest"],
        "only_right": ["right:latest"],
        "different": [{"name": "beta:2b", "left": old.digest, "right": new.digest}],
        "unknown": [],
        "same": 1,
    }


def test_diff_is_a_table_of_what_is_not_the_same(cli: Cli, serve: Serve) -> None:
    old, new = SimulatedModel("beta:2b", build="1"), SimulatedModel("beta:2b", build="2")
    discovered(cli, one=serve("alpha", old, "left").url, two=serve("alpha", new, "right").url)
    ran = cli("diff", "one", "two")
    assert ran.exit_code == 7
    assert [" ".join(line.split()) for line in ran.stdout.splitlines()] == [
        "NAME one two",
        f"beta:2b {old.digest[:12]} {new.digest[:12]}",
        "left:latest there (not there)",
        "right:latest (not there) there",
    ]
    assert ran.stderr == "note: 1 model is the same on one and two\n"


def test_diff_with_a_server_that_was_never_discovered_is_an_error(cli: Cli, serve: Serve) -> None:
    discovered(cli, one=serve("alpha").url)
    assert cli("server", "add", "new", serve("alpha").url).exit_code == 0
    assert cli.json("diff", "new", "new").failure == (2, "invalid_input")
    for pair in (("one", "new"), ("new", "one")):
        ran = cli("diff", *pair)
        assert (ran.exit_code, ran.stdout) == (4, "")
        assert ran.stderr == (
            "error: server new was never discovered: what it holds is not known\n"
            "hint: read it with: ollama-admin discover new\n"
        )


def test_diff_of_equal_servers_exits_0(cli: Cli, serve: Serve) -> None:
    discovered(cli, one=serve("alpha", "Beta").url, two=serve("beta", "alpha").url)
    ran = cli("diff", "one", "two")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert ran.stderr == "note: 2 models are the same on one and two\n"


def test_a_server_that_tells_no_digests_is_compared_by_name(cli: Cli, serve: Serve) -> None:
    other = serve("alpha:latest", "Org/Model", version=None)
    discovered(cli, one=serve("alpha").url, two=f"{other.url}/v1")
    ran = cli.json("diff", "one", "two")
    assert ran.exit_code == 7
    document = ran.json_of_any_end
    assert [pair["name"] for pair in document["unknown"]] == ["alpha:latest"]
    assert (document["only_left"], document["only_right"]) == ([], ["Org/Model"])
    assert "tells no digest" in cli("diff", "one", "two").stderr


def test_diff_with_a_server_that_is_not_there_is_not_found(cli: Cli, serve: Serve) -> None:
    discovered(cli, one=serve("alpha").url)
    assert cli.json("diff", "one", "two").failure == (3, "server_not_found")
