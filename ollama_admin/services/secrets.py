"""What is stored encrypted, and the change of its key."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ollama_admin.domain import urls
from ollama_admin.domain.secret import Secret
from ollama_admin.domain.servers import SECRET_FIELDS, Server
from ollama_admin.errors import AdminError, InvalidInput, SecretUnavailable
from ollama_admin.services.audit import Audit, Told
from ollama_admin.services.upstream_auth import ROTATIONS
from ollama_admin.settings import Settings
from ollama_admin.store import servers as store
from ollama_admin.store.database import Database
from ollama_admin.store.locks import lock_writers
from ollama_admin.vault import Keys, Vault, load_keys, new_key, own_key_file, write_key_file


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsStatus:
    """`key_source` is where the key comes from, None when there is none; the counts are of stored
    values.

    `stale` ones are under an older key; `unreadable` names the servers whose values no key opens.
    """

    key_source: str | None
    keys: int
    secrets: int
    stale: int
    unreadable: tuple[str, ...]
    problem: str | None = None


class StoredSecrets:
    """Credentials as they are stored: whether they can be read, and the change of their key."""

    def __init__(self, db: Database, settings: Settings, audit: Audit) -> None:
        self._db = db
        self._settings = settings
        self._audit = audit

    async def status(self) -> SecretsStatus:
        """Count what is stored, by whether it can be read; no value is part of the result."""
        status = await self._status()
        for _ in range(ROTATIONS):  # the key may change between the look at the rows and at the key
            if not status.unreadable:
                break
            status = await self._status()
        return status

    async def _status(self) -> SecretsStatus:
        servers = await self._db.read(store.all_servers)
        values = [value for server in servers for value in _sealed(server)]
        try:
            keys = load_keys(self._settings)
            vault = Vault(keys)
        except AdminError as exc:
            holders = [server.name for server in servers if any(_sealed(server))]
            return SecretsStatus(
                key_source=None,
                keys=0,
                secrets=len(values),
                stale=0,
                unreadable=tuple(holders),
                problem=exc.message,
            )
        closed = [server.name for server in servers if not _opens(vault, server)]
        unreadable = [value for value in values if not vault.is_readable(value)]
        problem = None
        if unreadable:
            problem = vault.way_back(unreadable[0])
        return SecretsStatus(
            key_source=keys.source,
            keys=len(keys.keys),
            secrets=len(values),
            stale=sum(vault.is_stale(value) for value in values),
            unreadable=tuple(closed),
            problem=problem,
        )

    async def rotate(self) -> SecretsStatus:
        """Encrypt everything again under the newest key, in one transaction; nothing changes where
        one secret cannot be read.

        An SQLite database with a key file of its own gets a new key; others take the first of the
        keys in their settings.
        """
        if not self._has_own_key:
            vault = Vault(load_keys(self._settings))
            await self._rotated(lambda connection: _reseal(connection, vault))
            return await self.status()
        if not own_key_file(self._settings).exists() and not (await self.status()).secrets:
            raise InvalidInput(
                "there is no secret and no key yet", "storing the first secret makes a key"
            )
        newest = new_key()
        await self._rotated(lambda connection: self._add_key(connection, newest))
        await self._db.write(self._drop_older_keys, newest)
        return await self.status()

    async def _rotated(self, work: Callable[[Any], None]) -> None:
        await self._audit.change(
            "secrets.rotate", "secrets", work, lambda _: Told(subject="secrets"), makes=True
        )

    def _add_key(self, connection: Any, newest: Secret) -> None:
        """Seal all rows with a new key; from before the commit, both keys are in the file."""
        older = load_keys(self._settings)
        keys = [newest]
        keys += older.keys
        _reseal(connection, Vault(Keys(source=older.source, keys=tuple(keys))))
        write_key_file(own_key_file(self._settings), keys, replace=True)

    def _drop_older_keys(self, _: Any, newest: Secret) -> None:
        """Leave the new key alone in the file, unless another rotation has begun; the transaction
        keeps the next one waiting.
        """
        if load_keys(self._settings).keys[0] == newest:
            write_key_file(own_key_file(self._settings), [newest], replace=True)

    @property
    def _has_own_key(self) -> bool:
        settings = self._settings
        return (
            not settings.is_postgresql
            and settings.secret_key is None
            and settings.secret_key_file is None
        )


def _reseal(connection: Any, vault: Vault) -> None:
    lock_writers(connection)
    for server in store.all_servers(connection):
        if not any(_sealed(server)):
            continue
        secret = SECRET_FIELDS.get(server.auth_type)
        config = dict(server.auth_config)
        try:
            if secret in config:
                config[secret] = vault.reseal(config[secret])
            headers = {name: vault.reseal(value) for name, value in server.headers.items()}
        except SecretUnavailable as exc:
            raise SecretUnavailable(f"server {server.name}: {exc.message}", exc.hint) from exc
        store.change(connection, server.id, {"auth_config": config, "headers": headers})


def _sealed(server: Server) -> Iterator[Any]:
    secret = SECRET_FIELDS.get(server.auth_type)
    if secret is not None and secret in server.auth_config:
        yield server.auth_config[secret]
    yield from server.headers.values()


def _opens(vault: Vault, server: Server) -> bool:
    try:
        for value in _sealed(server):
            vault.open(value, urls.origin(server.url))
    except SecretUnavailable:
        return False
    return True
