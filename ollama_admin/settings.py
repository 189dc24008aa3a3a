"""Where the program keeps its data: from an option or `OLLAMA_ADMIN_*`, never from `.env` or another variable."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_data_path

from ollama_admin.errors import InvalidInput

DATABASE_URL = "OLLAMA_ADMIN_DATABASE_URL"
_POSTGRES = ("postgres://", "postgresql://", "postgresql+psycopg://")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`database_url` is in SQLAlchemy's spelling and may hold a password: it is never shown."""

    database_url: str = field(repr=False)

    @classmethod
    def read(cls, environ: Mapping[str, str], database_url: str | None = None) -> "Settings":
        """An option wins over the environment, the environment over the default file."""
        given = database_url if database_url is not None else environ.get(DATABASE_URL)
        return cls(database_url=_default_database_url() if given is None else _database_url(given))

    @property
    def is_postgresql(self) -> bool:
        return self.database_url.startswith("postgresql")

    @property
    def sqlite_path(self) -> Path:
        """The file of an SQLite database, absolute."""
        return Path(self.database_url.removeprefix("sqlite:///")).absolute()


def _database_url(text: str) -> str:
    if not text:  # often a secret that CI does not have: another database would be changed instead
        raise InvalidInput("the database URL is empty", f"unset {DATABASE_URL} to use the default file")
    for prefix in _POSTGRES:
        if text.startswith(prefix):
            return "postgresql+psycopg://" + text.removeprefix(prefix)
    if text.startswith("sqlite:///"):
        path = text.removeprefix("sqlite:///")
        if path and path != ":memory:" and "?" not in path and not path.startswith("file:"):
            return text
        raise InvalidInput("the SQLite URL names no file", "write sqlite:////absolute/path.db or sqlite:///relative.db")
    raise InvalidInput(
        "the database URL is not one of postgresql:// and sqlite:///",
        f"give it with --database-url or {DATABASE_URL}",
    )


def _default_database_url() -> str:
    path = user_data_path("ollama-admin") / "ollama-admin.db"
    if not path.is_absolute():  # no HOME, and the user is unknown to the system
        raise InvalidInput("there is no home folder to keep the database in", f"set {DATABASE_URL}")
    return f"sqlite:///{path}"
