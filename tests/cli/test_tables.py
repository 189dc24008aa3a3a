"""Tables on terminals of any width: what tells rows apart is there, and nothing is cut."""

import io
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from ollama_admin.cli.lists import ListView, Wrong
from ollama_admin.cli.output import Output
from ollama_admin.cli.tables import ListTable, Table, fitted
from ollama_admin.cli.views.models import group_list, model_list
from ollama_admin.cli.views.servers import server_list
from ollama_admin.domain.models import ModelGroup, ModelHolder
from ollama_admin.domain.servers import ServerStatus
from tests.rules.rows import model, server

WIDTHS = st.integers(60, 200)
NAMES = st.one_of(
    st.text("ab-é日 ", min_size=1, max_size=70).map(lambda text: f"x{text}x"),
    st.sampled_from(["gpu-1", "a" * 63 + "1", "a" * 63 + "2"]),
)
PORTS = st.integers(1, 65535)
DIGESTS = st.sampled_from(["a" * 64, "b" * 64])
quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(view: ListView[Any], items: Sequence[Any], width: int, patch: Any) -> list[str]:
    """The lines of a list on a terminal so wide."""
    patch.setenv("COLUMNS", str(width))
    patch.setenv("TERM", "xterm-256color")
    terminal = Terminal()
    table = ListTable(Output(json=False, stdout=terminal, stderr=io.StringIO()), view)
    table.add(items)
    table.end()
    return re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).splitlines()


def rows_of(lines: list[str]) -> list[list[str]]:
    """The lines of each row: those after its first one begin with a space."""
    rows: list[list[str]] = []
    for line in lines:
        if line.startswith(" "):
            rows[-1].append(line)
        else:
            rows.append([line])
    return rows[1:]


@st.composite
def servers(draw: st.DrawFn) -> list[Any]:
    """Two servers of a fleet, not the same in what identifies them."""
    name, other = draw(NAMES), draw(NAMES)
    host = draw(st.from_regex(r"[a-z]{1,60}", fullmatch=True))
    first, second = draw(PORTS), draw(PORTS)
    status = draw(st.sampled_from(ServerStatus))
    return [
        server(7, name=name, url=f"http://{host}:{first}", status=status, capabilities=("a",) * 9),
        server(7, name=other, url=f"http://{host}:{second}", status=status),
    ]


@given(servers(), WIDTHS)
@quick
def test_no_two_servers_look_the_same_that_are_not(
    monkeypatch: pytest.MonkeyPatch, pair: list[Any], width: int
) -> None:
    lines = printed(server_list({7: 3}), pair, width, monkeypatch)
    assert all(cell_len(line) <= width for line in lines)
    one, two = rows_of(lines)
    same = (pair[0].name, pair[0].url) == (pair[1].name, pair[1].url)
    assert (one != two) or same
    if "PRIORITY" in lines[0]:  # an optional column: the others are whole
        assert (len(one), len(two)) == (1, 1)
        for row, each in ((one, pair[0]), (two, pair[1])):
            assert each.name in row[0]
            assert each.url in row[0]


@given(NAMES, NAMES, NAMES, DIGESTS, DIGESTS, WIDTHS)
@example("a" * 90 + "1", "a" * 90 + "2", "gpu", "a" * 64, "a" * 64, 60)
@example("alpha", "alpha", "gpu" * 30, "a" * 64, "b" * 64, 60)
@quick
def test_no_two_models_look_the_same_that_are_not(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    other: str,
    holder: str,
    digest: str,
    second: str,
    width: int,
) -> None:
    pair = [
        model(1, name, server=holder, digest=digest, pinned="b" * 64),
        model(1, other, server=holder, digest=second, pinned="b" * 64),
    ]
    lines = printed(model_list(), pair, width, monkeypatch)
    assert all(cell_len(line) <= width for line in lines)
    one, two = rows_of(lines)
    assert (one != two) or (name, digest) == (other, second)


@given(NAMES, st.lists(st.tuples(NAMES, DIGESTS), min_size=1, max_size=9), WIDTHS)
@quick
def test_every_server_of_a_group_is_named_whole(
    monkeypatch: pytest.MonkeyPatch, name: str, holders: list[tuple[str, str]], width: int
) -> None:
    held = tuple(
        ModelHolder(server=server, digest=digest, is_available=True) for server, digest in holders
    )
    group = ModelGroup(name=name, builds=len({d for _, d in holders}), pinned=None, servers=held)
    lines = printed(group_list(), [group], width, monkeypatch)
    text = "".join("".join(lines).split())
    shown = sorted(text)
    for server_name, _ in holders:
        for character in server_name.replace(" ", ""):
            assert character in shown
    assert all(cell_len(line) <= width for line in lines)


@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=8),
    st.integers(60, 200),
)
def test_widths_fit_where_they_can(natural: list[int], room: int) -> None:
    headings = ["ID", "NAME", "URL", "API", "USED", "STATE", "X", "WHY"][-len(natural) :]
    widths = fitted(headings, natural, room)
    assert sum(widths) + 2 * len(widths) <= room
    assert all(width <= need for width, need in zip(widths, natural, strict=True))
    if sum(natural) + 2 * len(natural) <= room:
        assert widths == natural


def test_last_column_gives_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal()
    output = Output(json=False, stdout=terminal, stderr=io.StringIO())
    Table(output, ["NAME", "WHY"]).print([("a-name-of-thirty-characters-xx", "why " * 20)])
    assert "a-name-of-thirty-characters-xx" in terminal.getvalue()


@pytest.mark.parametrize(("environ", "red"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_what_is_wrong_is_red_on_a_terminal_that_wants_colour(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], red: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    output = Output(json=False, stdout=terminal, stderr=io.StringIO())
    Table(output, ["NAME"]).print([(Wrong("bad"),), ("good",)])
    assert ("\x1b[31m" in terminal.getvalue()) is red
    pipe = io.StringIO()
    monkeypatch.setenv("FORCE_COLOR", "1")
    Table(Output(json=False, stdout=pipe, stderr=pipe), ["NAME"]).print([(Wrong("bad"),)])
    assert pipe.getvalue() == "NAME\nbad\n"
