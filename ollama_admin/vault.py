"""Secrets at rest: encrypted, and bound to the scheme, host and port that they were given for.

The key is never in the database. `OLLAMA_ADMIN_SECRET_KEY` or `..._SECRET_KEY_FILE` names it; with
neither, an SQLite database has a key file of its own beside it.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from ollama_admin.domain.files import read_regular_file
from ollama_admin.domain.secret import Reference, Secret, check_header_value
from ollama_admin.errors import InvalidInput, SecretUnavailable
from ollama_admin.settings import SECRET_KEY, SECRET_KEY_FILE, Settings

KEY_HINT = (
    f"set {SECRET_KEY} or {SECRET_KEY_FILE}; make a key with: ollama-admin secrets generate-key"
)
NO_FILE_HINT = f"{SECRET_KEY_FILE} names it: put the key there, or name the right file"
REFERENCE_HINT = "set it where ollama-admin runs, or store another one"
FILE_LIMIT = 64 * 1024  # bytes of a file that a reference names


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Keys, newest first, and where they come from; `unused` is the key file beside an SQLite
    database that they stand in for.
    """

    source: str
    keys: tuple[Secret, ...]
    unused: Path | None = None


class Vault:
    """Seals with the newest key, opens with any of them."""

    def __init__(self, keys: Keys) -> None:
        try:
            fernets = [Fernet(key.reveal()) for key in keys.keys]
        except ValueError as exc:
            raise SecretUnavailable(
                f"the secret key in {keys.source} is not a key", KEY_HINT
            ) from exc
        self._source, self._unused = keys.source, keys.unused
        self._newest = fernets[0]
        self._all = MultiFernet(fernets)

    def seal(self, value: Secret | Reference, origin: str) -> str:
        """Ciphertext that opens for this origin only."""
        kind, text = "reference", str(value)
        if isinstance(value, Secret):
            kind, text = "secret", value.reveal()
        return self._newest.encrypt(json.dumps([kind, origin, text]).encode()).decode()

    def open(self, sealed: object, origin: str) -> Secret | Reference:
        """What was sealed; SecretUnavailable for another key, another origin, or anything
        changed.
        """
        kind, bound, text = self._opened(sealed)
        if bound != origin:
            raise SecretUnavailable(
                f"the credentials stored for {origin} were given for {bound}",
                "give them again: server update --auth",
            )
        if kind == "secret":
            return Secret(text)
        return _reference(text)

    def reseal(self, sealed: object) -> str:
        """The ciphertext of what was sealed, under the newest key and for the origin it had."""
        self._opened(sealed)
        return self._all.rotate(str(sealed).encode()).decode()

    def is_stale(self, sealed: object) -> bool:
        """Whether an older one of the keys opens it, and not the newest."""
        return self.is_readable(sealed) and not _opens(self._newest, sealed)

    def is_readable(self, sealed: object) -> bool:
        return _opens(self._all, sealed)

    def way_back(self, sealed: object) -> str:
        """What to do where no key opens a secret."""
        behind = f"behind the one in {self._source}, after a comma"
        if self._unused is not None and _file_opens(self._unused, sealed):
            return (
                f"the key in {self._unused} opens it: unset {self._source}, or write that key "
                f"{behind}, and run: ollama-admin secrets rotate"
            )
        return (
            f"write the key that it was stored under {behind}; if that is lost, store the secret "
            "again: ollama-admin server update S --secret-stdin"
        )

    def _opened(self, sealed: object) -> tuple[str, str, str]:
        try:
            kind, origin, text = json.loads(self._all.decrypt(str(sealed).encode()))
        except (InvalidToken, ValueError) as exc:
            raise SecretUnavailable(
                "a stored secret cannot be read: it was stored under another key, or was changed",
                self.way_back(sealed),
            ) from exc
        return kind, origin, text


def _opens(fernet: Fernet | MultiFernet, sealed: object) -> bool:
    try:
        fernet.decrypt(str(sealed).encode())
    except (InvalidToken, ValueError):
        return False
    return True


def _file_opens(path: Path, sealed: object) -> bool:
    try:
        return Vault(_keys(str(path), _read(path))).is_readable(sealed)
    except SecretUnavailable:
        return False


def resolve(value: Secret | Reference, environ: Mapping[str, str]) -> Secret:
    """The secret itself, read now from where a reference says; SecretUnavailable when it is not
    there.
    """
    if isinstance(value, Secret):
        return value
    if value.kind == "env":
        text = environ.get(value.name, "")
        if not text:
            message = f"the variable {value.name} is not set, or empty"
            raise SecretUnavailable(message, REFERENCE_HINT)
    else:
        text = _read(Path(value.name), REFERENCE_HINT)
    try:
        check_header_value(f"secret in {value}", text)
    except InvalidInput as exc:
        raise SecretUnavailable(exc.message, REFERENCE_HINT) from exc
    return Secret(text)


def load_keys(settings: Settings, *, create: bool = False) -> Keys:
    """The keys in force; with `create`, a missing key file of an SQLite database is made."""
    if settings.secret_key is not None and settings.secret_key_file is not None:
        raise InvalidInput(f"both {SECRET_KEY} and {SECRET_KEY_FILE} are set", "unset one of them")
    unused = None
    if not settings.is_postgresql:
        unused = own_key_file(settings)
    if settings.secret_key is not None:
        return _keys(SECRET_KEY, settings.secret_key.reveal(), unused)
    if settings.secret_key_file is not None:
        text = _read(settings.secret_key_file, NO_FILE_HINT)
        return _keys(str(settings.secret_key_file), text, unused)
    if settings.is_postgresql:
        raise SecretUnavailable(
            "no secret key is set, and PostgreSQL has none of its own", KEY_HINT
        )
    path = own_key_file(settings)
    if create and not path.exists():
        write_key_file(path, [new_key()], replace=False)
    return _keys(str(path), _read(path, beside=settings.sqlite_path))


def own_key_file(settings: Settings) -> Path:
    """The key file beside an SQLite database."""
    return settings.sqlite_path.with_name(settings.sqlite_path.name + ".key")


def new_key() -> Secret:
    return Secret(Fernet.generate_key().decode())


def write_key_file(path: Path, keys: list[Secret], *, replace: bool) -> None:
    """Write keys, newest first, readable by the owner only; without `replace` an existing file
    wins.
    """
    try:
        for folder in reversed(path.parents):
            folder.mkdir(mode=0o700, exist_ok=True)
        _write_private_file(path, "".join(f"{key.reveal()}\n" for key in keys), replace=replace)
    except OSError as exc:
        raise SecretUnavailable(
            f"the key file {path} cannot be written: {exc.strerror}", KEY_HINT
        ) from exc


def _write_private_file(path: Path, text: str, *, replace: bool) -> None:
    """Put a whole file there at once; a reader never sees a part of it."""
    # 0600, and nobody else's file
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            unfinished.replace(path)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _reference(text: str) -> Reference:
    try:
        return Reference.parse(text)
    except InvalidInput as exc:  # a row may be older than the rules
        raise SecretUnavailable(exc.message, REFERENCE_HINT) from exc


def _keys(source: str, text: str, unused: Path | None = None) -> Keys:
    keys = tuple(Secret(word) for word in text.replace(",", " ").split())
    if not keys:
        raise SecretUnavailable(f"the secret key in {source} is empty", KEY_HINT)
    return Keys(source=source, keys=keys, unused=unused)


def _read(path: Path, hint: str = KEY_HINT, *, beside: Path | None = None) -> str:
    """The text of a file that nobody else can change; `beside` as in `ReadFile.require_own`."""
    try:
        file = read_regular_file(path, FILE_LIMIT, hint=hint)
        file.require_own(beside=beside)
        return file.data.decode().rstrip("\r\n")
    except InvalidInput as exc:
        raise SecretUnavailable(exc.message, exc.hint or hint) from exc
    except UnicodeDecodeError as exc:
        raise SecretUnavailable(f"the file {path} is not UTF-8 text", hint) from exc
