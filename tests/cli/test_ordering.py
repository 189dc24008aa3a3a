"""`--sort`, `--reverse` and `--limit` of lists."""

import pytest

from ollama_admin.simulator.model import SimulatedModel
from tests.cli.conftest import Serve
from tests.cli.running import Cli


@pytest.fixture
def fleet(cli: Cli, serve: Serve) -> Cli:
    """Three servers, of which the second has three models."""
    rows = {"beta": "5", "Alpha": "1", "gamma": "9"}
    fake = serve(
        SimulatedModel("small", size=1),
        SimulatedModel("large", size=300),
        SimulatedModel("middle", size=20),
    )
    for name, priority in rows.items():
        url = fake.url if name == "Alpha" else f"http://{name}"
        added = cli("server", "add", name, url, "--priority", priority, "--no-check")
        assert added.exit_code == 0
    assert cli("discover", "Alpha").exit_code == 0
    return cli


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ((), ["gamma", "beta", "Alpha"]),
        (("--limit", "2"), ["gamma", "beta"]),
        (("-L", "1", "--reverse"), ["Alpha"]),
        (("--sort", "name"), ["Alpha", "beta", "gamma"]),
        (("--sort", "name", "--reverse", "--limit", "2"), ["gamma", "beta"]),
        (("--sort", "id"), ["beta", "Alpha", "gamma"]),
        (("--sort", "priority", "--reverse"), ["Alpha", "beta", "gamma"]),
        (("--sort", "discovered"), ["Alpha", "gamma", "beta"]),
        (("--sort", "discovered", "--reverse"), ["Alpha", "gamma", "beta"]),
    ],
    ids=" ".join,
)
def test_servers_are_sorted_and_cut_alike_in_json_and_tables(
    fleet: Cli, options: tuple[str, ...], names: list[str]
) -> None:
    assert [row["name"] for row in fleet.json("server", "list", *options).data] == names
    lines = fleet("server", "list", *options).stdout.splitlines()[1:]
    assert [line.split()[1] for line in lines] == names


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("--sort", "size"), ["large", "middle", "small"]),
        (("--sort", "size", "-L", "1"), ["large"]),
        (("--sort", "name", "--reverse"), ["small", "middle", "large"]),
        (("--by-model", "--sort", "name", "-L", "2"), ["large", "middle"]),
        (("--by-model", "--sort", "servers", "-L", "1"), ["large"]),
    ],
    ids=" ".join,
)
def test_models_are_sorted_and_cut(fleet: Cli, options: tuple[str, ...], names: list[str]) -> None:
    rows = fleet.json("models", *options).data
    assert [row["name"].removesuffix(":latest") for row in rows] == names


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("server", "list", "--sort", "colour"), "cannot sort by 'colour'"),
        (("models", "--by-model", "--sort", "size"), "cannot sort by 'size'"),
        (("pin", "list", "--sort", "x"), "cannot sort by 'x'"),
        (("receipts", "list", "--sort", "x"), "cannot sort by 'x'"),
        (("receipts", "stats", "--sort", "x"), "cannot sort by 'x'"),
        (("server", "list", "--limit", "0"), "the limit must be 1 or more, not 0"),
        (("models", "--limit", "-1"), "the limit must be 1 or more, not -1"),
        (("pin", "list", "--limit", "0"), "the limit must be 1 or more, not 0"),
        (("receipts", "stats", "--limit", "0"), "the limit must be 1 or more, not 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_no_field_and_no_limit_is_refused_with_what_is(
    sqlite_cli: Cli, words: tuple[str, ...], problem: str
) -> None:
    ran = sqlite_cli.json(*words)
    assert ran.failure == (2, "invalid_input")
    assert problem in ran.error["message"]
    if "sort" in problem:
        assert ran.error["hint"].startswith("choose from: ")


def test_pins_are_sorted(fleet: Cli) -> None:
    for name in ("small", "large"):
        assert fleet("pin", "set", name).exit_code == 0
    rows = fleet.json("pin", "list", "--sort", "name", "--limit", "1").data
    assert [row["name"].removesuffix(":latest") for row in rows] == ["large"]
