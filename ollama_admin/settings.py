"""What the program is told from outside: options and `OLLAMA_ADMIN_*`, never `.env` or another
variable.

`SETTINGS`, at the end, is the one list of the variables: `Settings.read`, `doctor` and the check of
the table in docs/commands.md go by it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ollama_admin.domain.secret import OWN_VARIABLES, Secret
from ollama_admin.domain.times import duration
from ollama_admin.errors import InvalidInput

DATABASE_URL = "OLLAMA_ADMIN_DATABASE_URL"
SECRET_KEY = "OLLAMA_ADMIN_SECRET_KEY"  # noqa: S105 (the variable's name)
SECRET_KEY_FILE = "OLLAMA_ADMIN_SECRET_KEY_FILE"  # noqa: S105
PROXY = "OLLAMA_ADMIN_PROXY"
CA_FILE = "OLLAMA_ADMIN_CA_FILE"
RECEIPTS = "OLLAMA_ADMIN_RECEIPTS"
API_TOKEN = "OLLAMA_ADMIN_API_TOKEN"  # noqa: S105 (the variable's name)
DYNAMIC_SERVERS = "OLLAMA_ADMIN_DYNAMIC_SERVERS"
CHECK_EVERY = "OLLAMA_ADMIN_CHECK_EVERY"
PS_EVERY = "OLLAMA_ADMIN_PS_EVERY"
DISCOVER_EVERY = "OLLAMA_ADMIN_DISCOVER_EVERY"

# what other programs read and this one does not; `doctor` names those that are set
IGNORED_VARIABLES = (
    "OLLAMA_HOST",
    "OLLAMA_BASE_URL",
    "OLLAMA_API_BASE",
    "OLLAMA_API_BASE_URL",
    "OLLAMA_URL",
    "OLLAMA_MODEL",
    "OLLAMA_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_API_BASE",
    "OPENAI_API_KEY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NETRC",
)

# as other programs write it: each driver has its own spelling of the same database
_POSTGRES = re.compile(r"(jdbc:)?postgres(ql)?(\+[a-z0-9_]+)?://", re.IGNORECASE)
_QUOTES = ("'", '"', "`")


def _only_whether(_: Any) -> str:
    return "set"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A variable that this program obeys, and all that is known of it.

    `field` of `Settings` holds its value. `name` is what people call it; `default` and `meaning`
    are the cells of its row in docs/commands.md. `parse` makes the value of the variable's text:
    None is the same as a variable that is not set. `show` puts the value into words that hold no
    secret; what is not told how to show itself is only said to be set.
    """

    variable: str
    field: str
    name: str
    default: str
    meaning: str
    parse: Callable[[str], object]
    show: Callable[[Any], str] = _only_whether


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`database_url` is in SQLAlchemy's spelling. It, keys, tokens and the proxy hold passwords and
    are never shown.

    `dynamic_servers` says whether a request to the REST API may name the URL of a server that no
    row has. `check_every`, `ps_every` and `discover_every` are seconds between two looks at servers
    in the background; 0 is never. `sources` says by field where a value comes from, `option` or the
    variable's name; a field that is not in it has its default.
    """

    database_url: str = field(repr=False)
    secret_key: Secret | None = None
    secret_key_file: Path | None = None
    proxy: Secret | None = None
    ca_file: Path | None = None
    receipts: bool = True
    api_token: Secret | None = None
    dynamic_servers: bool = True
    check_every: float = 10.0
    ps_every: float = 5.0
    discover_every: float = 600.0
    sources: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, environ: Mapping[str, str], database_url: str | None = None) -> "Settings":
        """An option wins over the environment, the environment over the default file."""
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for setting in SETTINGS:
            text, source = environ.get(setting.variable), setting.variable
            if setting.variable == DATABASE_URL and database_url is not None:
                text, source = database_url, "option"
            if text is None:
                continue
            value = setting.parse(text)
            if value is not None:
                values[setting.field] = value
                sources[setting.field] = source
        if "database_url" not in values:
            values["database_url"] = _default_database_url()
        return cls(sources=sources, **values)

    def describe(self, setting: Setting) -> str | None:
        """The value of a setting in words that hold no secret; None when it has none."""
        value = getattr(self, setting.field)
        if value is None:
            return None
        return setting.show(value)

    def source_of(self, setting: Setting) -> str:
        """Where the value of a setting comes from: `option`, the variable's name, or `default`."""
        return self.sources.get(setting.field, "default")

    @property
    def is_postgresql(self) -> bool:
        return self.database_url.startswith("postgresql")

    @property
    def names_database(self) -> bool:
        """Whether somebody named the database; otherwise it is the file in the data folder."""
        return "database_url" in self.sources

    @property
    def sqlite_path(self) -> Path:
        """The file of an SQLite database, absolute."""
        return Path(self.database_url.removeprefix("sqlite:///")).absolute()


def ignored_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables that are set and have no effect here, though users may expect one; either case of
    letters.
    """
    return sorted(name for name in environ if name.upper() in IGNORED_VARIABLES)


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like a setting of ours and is none."""
    known = [setting.variable for setting in SETTINGS]
    unknown = [name for name in environ if name.startswith(OWN_VARIABLES) and name not in known]
    return [_unknown(name, known) for name in sorted(unknown)]


def _unknown(name: str, known: Sequence[str]) -> str:
    import difflib  # noqa: PLC0415 (seldom needed, and every command reads its settings)

    sentence = f"{name[:100]} is set, but is not a setting of ollama-admin"
    near = difflib.get_close_matches(name[:100], known, n=1)
    if near:
        sentence += f"; did you mean {near[0]}?"
    return sentence


class _Choice:
    """A setting that is one of two words, of which `yes` is read as true."""

    def __init__(self, variable: str, *, yes: str, no: str) -> None:
        self._variable = variable
        self._yes = yes
        self._no = no

    def parse(self, text: str) -> bool:
        if text not in (self._yes, self._no):
            problem = f"{self._variable} is {text[:100]!a}, neither {self._yes} nor {self._no}"
            raise InvalidInput(problem, "set it to one of them, or unset it")
        return text == self._yes

    def show(self, is_yes: bool) -> str:
        if is_yes:
            return self._yes
        return self._no


class _Every:
    """A setting that is a length of time, from one second to a day, or `off`."""

    def __init__(self, variable: str) -> None:
        self._variable = variable

    def parse(self, text: str) -> float:
        if text == "off":
            return 0.0
        try:
            seconds = duration(text).total_seconds()
        except InvalidInput:
            seconds = 0.0
        if not 1 <= seconds <= 86_400:
            problem = f"{self._variable} is {text[:100]!a}, no length of time from 1s to 1d"
            raise InvalidInput(problem, "write 10s, 5m or off, or unset it")
        return seconds

    def show(self, seconds: float) -> str:
        return f"{seconds:g} s" if seconds else "off"


def _api_token(text: str) -> Secret:
    # a header could not carry it
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidInput(
            f"{API_TOKEN} is empty, or has a character that is not printable ASCII",
            "unset it to have one made",
        )
    return Secret(text)


def _file(text: str) -> Path | None:
    if not text:
        return None
    return Path(text).absolute()


def _proxy(text: str) -> Secret | None:
    if not text:
        return None
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or not text.isascii() or not text.isprintable() or " " in text:
        # which may hold a password
        raise InvalidInput(f"{PROXY} is not an http:// or https:// URL")
    return Secret(text)


def _host(url: Secret) -> str:
    return urlsplit(url.reveal()).hostname or ""


def _database_url(text: str) -> str:
    if not text:  # often a secret that CI does not have: another database would be changed instead
        raise InvalidInput(
            "the database URL is empty", f"unset {DATABASE_URL} to use the default file"
        )
    text = _without_quotes(text.strip())
    scheme = _POSTGRES.match(text)
    if scheme is not None:
        return "postgresql+psycopg://" + text[scheme.end() :]
    if text.startswith("sqlite:///"):
        path = text.removeprefix("sqlite:///")
        if path and path != ":memory:" and "?" not in path and not path.startswith("file:"):
            return text
        raise InvalidInput(
            "the SQLite URL names no file",
            "write sqlite:////absolute/path.db or sqlite:///relative.db",
        )
    raise InvalidInput(
        "the database URL begins neither with postgresql:// nor with sqlite:///",
        "write postgresql://user@host:5432/database or sqlite:////absolute/path.db",
    )


def _without_quotes(text: str) -> str:
    """The text inside quotes that a file of variables kept."""
    if len(text) > 1 and text[0] in _QUOTES and text[-1] == text[0]:
        return text[1:-1]
    return text


def _default_database_url() -> str:
    from platformdirs import user_data_path  # noqa: PLC0415 (only who names no database needs it)

    path = user_data_path("ollama-admin") / "ollama-admin.db"
    if not path.is_absolute():  # no HOME, and the user is unknown to the system
        raise InvalidInput("there is no home folder to keep the database in", f"set {DATABASE_URL}")
    return f"sqlite:///{path}"


_RECEIPTS = _Choice(RECEIPTS, yes="on", no="off")
_CHECK_EVERY = _Every(CHECK_EVERY)
_PS_EVERY = _Every(PS_EVERY)
_DISCOVER_EVERY = _Every(DISCOVER_EVERY)
_DYNAMIC_SERVERS = _Choice(DYNAMIC_SERVERS, yes="allow", no="registered")

SETTINGS = (
    Setting(
        variable=DATABASE_URL,
        field="database_url",
        name="database",
        default="an SQLite file in your data folder",
        meaning="`postgresql://user@host:5432/database`, `sqlite:////absolute/path.db` or "
        "`sqlite:///relative.db`",
        parse=_database_url,
    ),
    Setting(
        variable=SECRET_KEY,
        field="secret_key",
        name="secret key",
        default="SQLite: a key file beside the database",
        meaning="The key of the secrets; several with commas between them, newest first",
        parse=Secret,
    ),
    Setting(
        variable=SECRET_KEY_FILE,
        field="secret_key_file",
        name="secret key file",
        default="",
        meaning="A file with the key, or with one on each line, instead of the variable",
        parse=_file,
        show=str,
    ),
    Setting(
        variable=PROXY,
        field="proxy",
        name="proxy",
        default="no proxy",
        meaning="`http://user:password@host:3128`; all requests to servers go through it",
        parse=_proxy,
        show=_host,
    ),
    Setting(
        variable=CA_FILE,
        field="ca_file",
        name="CA file",
        default="the authorities that certifi lists",
        meaning="A PEM file of the certificate authorities to trust instead",
        parse=_file,
        show=str,
    ),
    Setting(
        variable=RECEIPTS,
        field="receipts",
        name="receipts",
        default="`on`",
        meaning="`off` writes no receipts",
        parse=_RECEIPTS.parse,
        show=_RECEIPTS.show,
    ),
    Setting(
        variable=API_TOKEN,
        field="api_token",
        name="API token",
        default="one is made",
        meaning="The key of `serve`",
        parse=_api_token,
    ),
    Setting(
        variable=DYNAMIC_SERVERS,
        field="dynamic_servers",
        name="dynamic servers",
        default="`allow`",
        meaning="`registered`: the REST API refuses URLs that no server has",
        parse=_DYNAMIC_SERVERS.parse,
        show=_DYNAMIC_SERVERS.show,
    ),
    Setting(
        variable=CHECK_EVERY,
        field="check_every",
        name="checks",
        default="`10s`",
        meaning="How often `serve` asks each active server whether it answers; `off`: never",
        parse=_CHECK_EVERY.parse,
        show=_CHECK_EVERY.show,
    ),
    Setting(
        variable=PS_EVERY,
        field="ps_every",
        name="loaded models",
        default="`5s`",
        meaning="How often `serve` reads `/api/ps` of servers while requests come; `off`: never",
        parse=_PS_EVERY.parse,
        show=_PS_EVERY.show,
    ),
    Setting(
        variable=DISCOVER_EVERY,
        field="discover_every",
        name="discovery",
        default="`10m`",
        meaning="How often `serve` reads what active servers hold; `off`: never",
        parse=_DISCOVER_EVERY.parse,
        show=_DISCOVER_EVERY.show,
    ),
)
