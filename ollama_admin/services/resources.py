"""What a process opens once and all its callers share: the database, what is kept of it,
connections, slots, receipts.

Each is loaded when it is first used, so that listing servers pays for nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import cached_property
from typing import TYPE_CHECKING

from ollama_admin.settings import Settings
from ollama_admin.store.database import Database
from ollama_admin.store.urls import foreign_parameters

if TYPE_CHECKING:
    from ollama_admin.domain.secret import Secret
    from ollama_admin.domain.servers import Server, Target
    from ollama_admin.ollama.connecting import Times
    from ollama_admin.ollama.endpoint import Endpoint
    from ollama_admin.ollama.http import HTTP
    from ollama_admin.ollama.raw_http import RawHTTP
    from ollama_admin.services.activity import Activity
    from ollama_admin.services.health import HealthBook
    from ollama_admin.services.key_limits import KeyLimits
    from ollama_admin.services.keyring import KeyRing
    from ollama_admin.services.leases import LeaseTimes
    from ollama_admin.services.lists import Lists
    from ollama_admin.services.loads import Loads
    from ollama_admin.services.metrics import Metrics
    from ollama_admin.services.neighbours import Neighbours
    from ollama_admin.services.recorder import Recorder
    from ollama_admin.services.registry import Registry
    from ollama_admin.services.slots import Slots
    from ollama_admin.services.upstream_auth import UpstreamAuth, Value
    from ollama_admin.vault import Vault


# in the order in which they are opened, if they are
_CLOSED = [
    "registry",
    "keyring",
    "key_limits",
    "recorder",
    "health",
    "slots",
    "http",
    "raw_http",
    "lists",
    "loads",
    "activity",
    "metrics",
]


class Resources:
    """`note` hears what concerns the process and no request of its own; `one_pool` is for
    `Database`. `neighbours` are the other workers of a service, None where there is none.
    """

    neighbours: Neighbours | None = None

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        note: Callable[[str], None],
        times: Times | None = None,
        lease_times: LeaseTimes | None = None,
        *,
        one_pool: bool = False,
    ) -> None:
        self.settings = settings
        self.environ = environ
        self.db = Database(settings, self._create_schema, one_pool=one_pool)
        self._note = note
        self._times = times
        self._lease_times = lease_times
        if settings.is_postgresql:
            for text in foreign_parameters(settings):
                note(text)

    async def aclose(self) -> None:
        """Give back slots, write the receipts that are not written yet, and close every
        connection, whatever goes wrong with one of them.
        """
        async with AsyncExitStack() as stack:
            stack.callback(self.db.close)
            # closed from the last one on
            for name in _CLOSED:
                if name in self.__dict__:  # it was used
                    stack.push_async_callback(getattr(self, name).aclose)
            if "lists" in self.__dict__:  # whose last readers have receipts to be written
                stack.push_async_callback(self.lists.settle)

    async def require_servable(self) -> float | None:
        """Raise DatabaseUnavailable unless requests can be served: by the database, or by what the
        registry keeps of it, see `Registry.require_servable`.
        """
        if "registry" in self.__dict__ and self.registry.is_watching:
            return await self.registry.require_servable()
        await self.db.check_writable()
        return None

    @cached_property
    def http(self) -> HTTP:
        from ollama_admin.ollama.connecting import Times
        from ollama_admin.ollama.http import HTTP

        return HTTP(self._times or Times(), self.settings.proxy, self.settings.ca_file)

    @cached_property
    def raw_http(self) -> RawHTTP:
        from ollama_admin.ollama.connecting import Times
        from ollama_admin.ollama.raw_http import RawHTTP

        return RawHTTP(self._times or Times(), self.settings.proxy, self.settings.ca_file)

    @cached_property
    def auth(self) -> UpstreamAuth:
        from ollama_admin.services.upstream_auth import UpstreamAuth

        return UpstreamAuth(self._open_vault, self._read_secret, self.environ, self._reread)

    @cached_property
    def slots(self) -> Slots:
        from ollama_admin.services.slots import Slots

        return Slots(self.db, self._note, self._lease_times)

    @cached_property
    def lists(self) -> Lists:
        from ollama_admin.services.lists import Lists

        return Lists()

    @cached_property
    def registry(self) -> Registry:
        from ollama_admin.services.registry import Registry

        return Registry(self.db, self._note)

    @cached_property
    def keyring(self) -> KeyRing:
        from ollama_admin.services.keyring import KeyRing

        return KeyRing(self.db, self.registry)

    @cached_property
    def key_limits(self) -> KeyLimits:
        from ollama_admin.services.key_limits import KeyLimits

        return KeyLimits(self.db, self._note)

    @cached_property
    def recorder(self) -> Recorder:
        from ollama_admin.services.recorder import Recorder

        return Recorder(self.db, self.settings.receipts, self._note)

    async def receipts_written(self) -> None:
        """Wait, but not for long, until the receipts of what was asked before are written."""
        if "recorder" in self.__dict__:
            await self.recorder.written()

    @cached_property
    def loads(self) -> Loads:
        from ollama_admin.services.loads import Loads

        return Loads(self._to_read_loads, self.health, every=self.settings.ps_every)

    @cached_property
    def health(self) -> HealthBook:
        from ollama_admin.services.health import HealthBook

        return HealthBook(self.db, self._note)

    @cached_property
    def activity(self) -> Activity:
        from ollama_admin.services.activity import Activity

        return Activity(self.db, self._to_read_loads, self.auth, self.recorder.running.values)

    @cached_property
    def metrics(self) -> Metrics:
        from ollama_admin.services.metrics import Metrics

        settings = self.settings
        looks = settings.check_every > 0 or settings.discover_every > 0
        return Metrics(self.db, self.slots, self.recorder, self.registry, looks=looks)

    def _to_read_loads(self, target: Target, timeout: float | None) -> Endpoint:
        """The way to a registered server, at an address that every caller may reach."""
        from ollama_admin.ollama.endpoint import Endpoint

        return Endpoint(self.raw_http, target, timeout, any_address=False)

    def _open_vault(self, *, create: bool) -> Vault:
        from ollama_admin.vault import Vault, load_keys

        # each time: another process may rotate the key
        return Vault(load_keys(self.settings, create=create))

    def _reread(self, server: Server) -> Server:
        """The row as it is now. Only the key file of an SQLite database changes while programs
        run, and such a database is read in no time.
        """
        from ollama_admin.store import servers

        if self.settings.is_postgresql or server.id is None:
            return server
        return self.db.read_now(servers.find, server.id)

    @staticmethod
    def _read_secret(value: Value, environ: Mapping[str, str]) -> Secret:
        from ollama_admin.vault import resolve

        return resolve(value, environ)

    def _create_schema(self) -> None:
        from ollama_admin.store.migrations import upgrade

        upgrade(self.settings)
