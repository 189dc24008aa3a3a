"""The difference between a fleet and its file, as text."""

from typing import Any

from ollama_admin.domain.fleet_file import Entry, Fleet, FleetFile, Noun, Plan, Row
from ollama_admin.rules.fleet_diff import unified

DIGEST = "ab" * 32
DEFAULTS: dict[str, dict[str, Any]] = {"servers": {}, "keys": {}}
NOTHING_TO_DO = Plan(owner="team", steps=[], unchanged=0, fingerprint="")


def pin(name: str, digest: str) -> Entry:
    return Entry(noun=Noun.PIN, name=name, key=name.casefold(), values={"digest": digest})


def row(name: str, digest: str) -> Row:
    values = {"digest": digest}
    return Row(
        noun=Noun.PIN,
        name=name,
        key=name.casefold(),
        values=values,
        id=1,
        state="",
        owner="team",
    )


def difference(*pins: Entry) -> list[str]:
    """The lines that differ where the fleet has one pin."""
    rows = {"alpha": row("Alpha", DIGEST)}
    fleet = Fleet(servers={}, pins=rows, keys={}, default_server=None)
    file = FleetFile(owner="team", pins=pins)
    lines = unified(file, fleet, NOTHING_TO_DO, DEFAULTS).splitlines()
    return [line for line in lines[3:] if line[0] in "+-"]


def test_another_spelling_and_the_beginning_of_a_digest_are_no_difference() -> None:
    assert difference(pin("ALPHA", DIGEST[:12])) == []


def test_another_digest_is_a_difference_under_the_name_of_the_row() -> None:
    assert difference(pin("alpha", "cd")) == [f"-    digest: {DIGEST}", "+    digest: cd"]


def test_what_the_fleet_does_not_have_is_added_in_the_order_of_names() -> None:
    assert difference(pin("gamma", "ef"), pin("alpha", DIGEST), pin("beta", "cd")) == [
        "+  - name: beta",
        "+    digest: cd",
        "+  - name: gamma",
        "+    digest: ef",
    ]
