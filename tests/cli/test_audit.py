"""`ollama-admin audit`: each command that changes something leaves one row, also one that is
refused; and old rows are deleted.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.pulling import Registry
from tests.cli.conftest import Serve, Spawn
from tests.cli.running import Cli, commands
from tests.store.revisions import execute

ALPHA = SimulatedModel("alpha")
DIGEST = "ab" * 32

# in this order, one builds on the other; {env} is a file, {url} and {other} are servers
CHANGES: dict[str, tuple[str, str]] = {
    "server add": ("server.add", "one {url}"),
    "server update": ("server.update", "one --priority 3"),
    "server disable": ("server.disable", "one"),
    "server enable": ("server.enable", "one"),
    "server drain": ("server.drain", "one"),
    "server resume": ("server.resume", "one"),
    "server set-default": ("server.set-default", "one"),
    "pull": ("model.pull", "alpha --on one"),
    "cp": ("model.copy", "alpha beta --on one"),
    "rm": ("model.delete", "beta --on one --yes"),
    "pin set": ("pin.set", f"alpha --digest {DIGEST}"),
    "pin remove": ("pin.remove", "alpha"),
    "key add": ("key.add", "team"),
    "key update": ("key.update", "team --weight 2"),
    "key rotate": ("key.rotate", "team"),
    "key revoke": ("key.revoke", "team"),
    "key remove": ("key.remove", "team --yes"),
    "secrets rotate": ("secrets.rotate", ""),
    "receipts prune": ("receipts.prune", "--yes"),
    "import-env": ("import-env", "{env}"),
    "server remove": ("server.remove", "one --yes"),
    "audit prune": ("audit.prune", "--yes"),
}
# what asks, shows, or changes what a server does at the moment; `sync` leaves the rows of its
# pulls, `apply` one for each of its steps, and `db` takes whole databases along
OTHERS = {
    *("server list", "server show", "server check", "discover", "models", "ps", "show", "top"),
    *("sync", "diff", "outdated", "load", "unload", "generate", "chat", "embed", "pin list"),
    *("key list", "key show", "usage", "audit list", "receipts list", "receipts show"),
    *("receipts stats", "migrate", "doctor", "secrets status", "secrets generate-key"),
    *("serve", "demo", "", "validate", "plan", "apply", "export"),
    *("db copy", "db backup", "db restore"),
}
REFUSED = {
    "server update": ("server.update", "nobody --priority 3", "server_not_found"),
    "server remove": ("server.remove", "nobody --yes", "server_not_found"),
    "server drain": ("server.drain", "nobody", "server_not_found"),
    "server add": ("server.add", "one {other}", "server_exists"),
    "pin remove": ("pin.remove", "nothing", "not_found"),
    "key update": ("key.update", "nobody --weight 2", "not_found"),
    "key rotate": ("key.rotate", "nobody", "not_found"),
    "key revoke": ("key.revoke", "nobody", "not_found"),
    "key remove": ("key.remove", "nobody --yes", "not_found"),
}


def test_every_command_is_a_change_or_none() -> None:
    every = {" ".join(words) for words in commands()}
    assert every <= CHANGES.keys() | OTHERS
    assert not CHANGES.keys() & OTHERS


def test_every_change_leaves_one_row(
    cli: Cli, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_SECRET_KEY", "k" * 43 + "=")
    fake = serve(registry=Registry([ALPHA]))
    env = tmp_path / "legacy.env"
    env.write_text("OLLAMA_SERVER_2_URL=http://10.0.0.2\n")
    told: dict[str, list[str]] = {}
    for name, (_, words) in CHANGES.items():
        before = cli.json("audit", "list", "--limit", "10000").data
        arguments = words.format(url=fake.url, env=env).split()
        ran = cli(*name.split(), *arguments)
        assert ran.exit_code == 0, (name, ran.stdout, ran.stderr)
        entries = cli.json("audit", "list", "--limit", "10000").data
        told[name] = [one["action"] for one in entries[: len(entries) - len(before)]]
        assert entries[0]["outcome"] == "ok"
        told_values = (entries[0]["before"], entries[0]["after"])
        assert told_values != (None, None) or name == "secrets rotate"  # all of it is secret
    assert told == {name: [action] for name, (action, _) in CHANGES.items()}


def test_every_change_that_is_refused_leaves_one_row(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    assert cli("server", "add", "one", fake.url).exit_code == 0
    told = {}
    for name, (_, words, _) in REFUSED.items():
        count = len(cli.json("audit", "list", "--refused").data)
        assert cli(*name.split(), *words.format(other="http://10.0.0.9").split()).exit_code in (
            3,
            4,
        )
        entries = cli.json("audit", "list", "--refused").data
        new = entries[: len(entries) - count]
        told[name] = [(one["action"], one["outcome"], one["after"]) for one in new]
    assert told == {
        name: [(action, outcome, None)] for name, (action, _, outcome) in REFUSED.items()
    }


def grow_old(url: str, days: int) -> None:
    then = datetime.now(UTC) - timedelta(days=days)
    execute(url, f"UPDATE ollama_audit SET created_at = '{then:%Y-%m-%d %H:%M:%S}'")


def test_prune_deletes_what_is_older_than_a_year(cli: Cli, database_url: str) -> None:
    for name in ("one", "two"):
        assert cli("key", "add", name).exit_code == 0
    grow_old(database_url, 364)
    assert cli("audit", "prune", "--yes").stdout == "deleted 0 entries\n"
    grow_old(database_url, 366)
    assert cli("audit", "prune", "--dry-run").stdout == "3 entries would be deleted\n"
    assert cli.json("audit", "prune", "--dry-run").data == {"pruned": 0, "would_prune": 3}
    assert cli.json("audit", "prune", "--yes").data == {"pruned": 3}
    [entry] = cli.json("audit", "list").data
    assert (entry["action"], entry["subject"], entry["after"]["pruned"]) == (
        "audit.prune",
        "audit",
        3,
    )


def test_prune_deletes_nothing_that_nobody_confirmed(cli: Cli, spawn: Spawn) -> None:
    assert cli("key", "add", "one").exit_code == 0
    for words in ((), ("--before", "0s"), ("--before", "2100-01-01", "--yes")):
        assert cli.json("audit", "prune", *words).failure == (2, "invalid_input")
    assert len(cli.json("audit", "list").data) == 1
