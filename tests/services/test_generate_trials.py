"""Random requests to random fleets: no answer comes from a server or a build that the rules do not
allow.
"""

import asyncio
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from ollama_admin.client import Client
from ollama_admin.domain.explanations import Explanation
from ollama_admin.domain.servers import Target
from ollama_admin.errors import AdminError
from ollama_admin.services.leases import LeaseTimes
from ollama_admin.settings import Settings
from ollama_admin.store.engines import open_engine
from tests.services import on_sockets
from tests.services.asking import ask
from tests.services.on_sockets import ServerOnSocket, with_sockets
from tests.services.rules import Server
from tests.services.scripted import ScriptedEndpoint, ScriptedServer
from tests.services.stops import LARGEST_FLEET, Step, allowed, as_it_may_be, at_step, steps
from tests.services.trials import (
    Seen,
    Trial,
    compare,
    held_slot,
    keywords,
    slots_held,
    store,
    trials,
)

AT_ONCE = LeaseTimes(keep=0)  # a slot goes back when its request ends


class ScriptedClient(Client):
    """A client that has these servers at the other end."""

    scripted: Mapping[str, ScriptedServer]

    def _connect(self, target: Target, timeout: float | None) -> Any:
        return ScriptedEndpoint(self.scripted[target.ref.url], target)

    _connect_to_ask = _connect


class Bench(ABC):
    """One database, one client and one event loop for all trials."""

    def __init__(self, file: Path, client_type: type[Client]) -> None:
        url = f"sqlite:///{file}"
        self._engine = open_engine(Settings.read({}, url), sqlite_patience=30)
        self.runner = asyncio.Runner()
        environ = {"OLLAMA_ADMIN_RECEIPTS": "off"}
        self.client = client_type(
            database_url=url, environ=environ, on_note=lambda _: None, lease_times=AT_ONCE
        )

    def close(self) -> None:
        self.runner.run(self.client.aclose())
        self.runner.close()
        self._engine.dispose()

    def try_out(self, trial: Trial) -> None:
        """Raise AssertionError unless the outcome is what the rules say."""
        urls = {server.name: self.url(number) for number, server in enumerate(trial.fleet)}
        self._in_database(store, trial, urls, self._held_slot)
        compare(trial, urls, self.runner.run(self._ask(trial)))
        assert self._in_database(slots_held) == sum(server.is_full for server in trial.fleet)

    def try_out_in_steps(self, trial: Trial, steps: Sequence[Step]) -> None:
        """Raise AssertionError unless each of several outcomes is what the rules say."""
        urls = {server.name: self.url(number) for number, server in enumerate(trial.fleet)}
        self._in_database(store, trial, urls, self._held_slot)
        for number, step in enumerate(steps):
            now = self.playable(replace(trial, fleet=at_step(trial.fleet, step)))
            seen = self.runner.run(self._ask(now))
            known = as_it_may_be(now.fleet, is_first=number == 0)
            allowed(known, lambda fleet: compare(replace(trial, fleet=fleet), urls, seen))  # noqa: B023
            assert self._in_database(slots_held) == sum(server.is_full for server in trial.fleet)

    def playable(self, trial: Trial) -> Trial:
        return trial

    @property
    def _held_slot(self) -> dict[str, Any]:
        """Anew for each trial: all of them may take longer than a slot lives."""
        return self._in_database(held_slot)

    @abstractmethod
    def url(self, number: int) -> str: ...

    @abstractmethod
    async def play(self, fleet: Sequence[Server]) -> Sequence[ScriptedServer | ServerOnSocket]:
        """The servers, each in its part."""

    async def _ask(self, trial: Trial) -> Seen:
        playing = await self.play(trial.fleet)
        number = trial.asked.at
        outcome = await ask(self.client, **keywords(trial.asked, self.url(number), number + 1))
        told = list(zip(trial.fleet, playing, strict=True))
        return Seen(
            outcome=outcome,
            sent={server.name: played.asked for server, played in told if played.asked},
            spoke=[server.name for server, played in told if played.spoke],
        )

    def _in_database(self, work: Callable[..., Any], *args: Any) -> Any:
        with self._engine.begin() as connection:
            return work(connection, *args)


class ScriptedBench(Bench):
    """`turns` are the servers that a prompt was meant for in the last trial, in order."""

    client: ScriptedClient
    turns: list[str]

    def __init__(self, file: Path) -> None:
        super().__init__(file, ScriptedClient)

    def url(self, number: int) -> str:
        return f"http://server-{number}.test:11434"

    async def play(self, fleet: Sequence[Server]) -> Sequence[ScriptedServer]:
        self.turns = []
        playing = [
            ScriptedServer(told=server, tags=server.tags, turns=self.turns) for server in fleet
        ]
        self.client.scripted = {self.url(number): server for number, server in enumerate(playing)}
        return playing

    def explain(self, trial: Trial) -> str | None:
        """The server that is said to be asked first, None for nobody, also where that is an
        error.
        """
        urls = {server.name: self.url(number) for number, server in enumerate(trial.fleet)}
        self._in_database(store, trial, urls, self._held_slot)
        explanation = self.runner.run(self._explain(trial))
        if explanation is None or explanation.chosen is None:
            return None
        names = {url: name for name, url in urls.items()}
        return names[explanation.chosen.server.url]

    async def _explain(self, trial: Trial) -> Explanation | None:
        await self.play(trial.fleet)
        asked, number = trial.asked, trial.asked.at
        try:
            explanation = await self.client.explain(**keywords(asked, self.url(number), number + 1))
        except AdminError:
            explanation = None
        assert self.turns == []  # no prompt is sent
        return explanation


class SocketBench(Bench):
    def __init__(self, file: Path) -> None:
        super().__init__(file, Client)
        self._servers = self.runner.run(on_sockets.start(LARGEST_FLEET, ServerOnSocket))

    def close(self) -> None:
        self.runner.run(on_sockets.stop(self._servers))
        super().close()

    def playable(self, trial: Trial) -> Trial:
        return with_sockets(trial)

    def url(self, number: int) -> str:
        return self._servers[number].url

    async def play(self, fleet: Sequence[Server]) -> Sequence[ServerOnSocket]:
        playing = self._servers[: len(fleet)]
        for server, told in zip(playing, fleet, strict=True):
            await server.become(told)
        return playing


@pytest.fixture
def file(tmp_path: Path, migrated_sqlite_file: Path) -> Path:
    return Path(shutil.copy(migrated_sqlite_file, tmp_path / "one.db"))


@pytest.fixture
def scripted(file: Path) -> Iterator[ScriptedBench]:
    with closing(ScriptedBench(file)) as bench:
        yield bench


@pytest.fixture
def on_real_sockets(file: Path) -> Iterator[Bench]:
    with closing(SocketBench(file)) as bench:
        yield bench


@pytest.mark.parametrize("examples", [600, pytest.param(10_000, marks=pytest.mark.chaos)])
def test_scripted_servers_answer_as_the_rules_allow(scripted: Bench, examples: int) -> None:
    @settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])
    @given(trial=trials())
    def never_breaks_a_rule(trial: Trial) -> None:
        scripted.try_out(trial)

    never_breaks_a_rule()


@pytest.mark.parametrize("examples", [250, pytest.param(10_000, marks=pytest.mark.chaos)])
def test_who_is_chosen_by_explain_is_who_is_asked(scripted: ScriptedBench, examples: int) -> None:
    """And nobody is chosen where no prompt would be sent."""

    @settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])
    @given(trial=trials())
    def never_says_another(trial: Trial) -> None:
        chosen = scripted.explain(trial)
        scripted.try_out(trial)
        assert scripted.turns[:1] == ([] if chosen is None else [chosen]), trial.asked

    never_says_another()


@pytest.mark.parametrize("examples", [100, pytest.param(10_000, marks=pytest.mark.chaos)])
def test_scripted_servers_that_come_and_go_answer_as_the_rules_allow(
    scripted: Bench, examples: int
) -> None:
    @settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])
    @given(trial=trials(), steps=steps)
    def never_breaks_a_rule(trial: Trial, steps: Sequence[Step]) -> None:
        scripted.try_out_in_steps(trial, steps)

    never_breaks_a_rule()


@pytest.mark.parametrize("examples", [10, pytest.param(1000, marks=pytest.mark.chaos)])
def test_servers_on_sockets_that_come_and_go_answer_as_the_rules_allow(
    on_real_sockets: Bench, examples: int
) -> None:
    @settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])
    @given(trial=trials().map(with_sockets), steps=steps)
    def never_breaks_a_rule(trial: Trial, steps: Sequence[Step]) -> None:
        on_real_sockets.try_out_in_steps(trial, steps)

    never_breaks_a_rule()


@pytest.mark.parametrize("examples", [25, pytest.param(200, marks=pytest.mark.chaos)])
def test_servers_on_sockets_answer_as_the_rules_allow(
    on_real_sockets: Bench, examples: int
) -> None:
    @settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])
    @given(trial=trials().map(with_sockets))
    def never_breaks_a_rule(trial: Trial) -> None:
        on_real_sockets.try_out(trial)

    never_breaks_a_rule()
