"""The options that give credentials, and how they are read.

A secret is never an argument: those show in process lists and shell histories.
"""

import getpass
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypedDict

import typer

from ollama_admin.cli.options import takes
from ollama_admin.domain.secret import Reference, Secret
from ollama_admin.domain.servers import SECRET_FIELDS, AuthType
from ollama_admin.domain.values import Given
from ollama_admin.errors import InvalidInput

CREDENTIALS = "Credentials"  # a group of options in the help
SECRET_LIMIT = 64 * 1024  # bytes
_USUAL_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


class AuthColumns(TypedDict):
    """The keyword arguments of the services that are about credentials."""

    auth_type: AuthType | None
    auth_config: Mapping[str, Given] | None
    headers: Mapping[str, Secret | Reference] | None


AUTH_COLUMNS = frozenset(AuthColumns.__annotations__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthOptions:
    """What the options say. Reading the secret is a step of its own: it may ask a person."""

    auth: Annotated[
        AuthType | None,
        typer.Option(
            "--auth",
            help="How the server authenticates requests.",
            show_default=False,
            rich_help_panel=CREDENTIALS,
        ),
    ] = None
    username: Annotated[
        str | None,
        typer.Option(
            metavar="U",
            help="User name for --auth basic.",
            show_default=False,
            rich_help_panel=CREDENTIALS,
        ),
    ] = None
    header_name: Annotated[
        str | None,
        typer.Option(
            metavar="H",
            help="Header for --auth api_key; X-API-Key by default.",
            rich_help_panel=CREDENTIALS,
        ),
    ] = None
    secret_stdin: Annotated[
        bool,
        typer.Option(
            "--secret-stdin", help="Read the secret from stdin.", rich_help_panel=CREDENTIALS
        ),
    ] = False
    secret_env: Annotated[
        str | None,
        typer.Option(
            metavar="VAR",
            help="Read the secret from this variable, now.",
            rich_help_panel=CREDENTIALS,
        ),
    ] = None
    secret_ref: Annotated[
        str | None,
        typer.Option(
            metavar="env:VAR|file:PATH",
            help="Store a reference only; read the secret at each use.",
            rich_help_panel=CREDENTIALS,
        ),
    ] = None
    header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="K=V",
            help="Send this header too; for public values.",
            rich_help_panel=CREDENTIALS,
        ),
    ] = None
    header_ref: Annotated[
        list[str] | None,
        typer.Option(
            metavar="K=env:VAR|file:PATH",
            help="Send this header too; read its value at each use.",
            rich_help_panel=CREDENTIALS,
        ),
    ] = None

    def columns(self, current: AuthType | None = None) -> AuthColumns:
        """Read the secret, and give the keyword arguments of the services, each None where nothing
        was given. `current` is the type that the row has now.
        """
        kind = self.auth
        if self.needs_current:
            kind = current
        if kind is None and self._is_about_secret:
            raise InvalidInput(
                f"{' and '.join(self._given_of_secret)} without --auth",
                "add --auth basic, bearer or api_key",
            )
        return {"auth_type": kind, "auth_config": self._config(kind), "headers": self._headers()}

    @property
    def needs_current(self) -> bool:
        """Whether the row's own type decides what the secret is."""
        return self.auth is None and self._is_about_secret

    @property
    def is_given(self) -> bool:
        """Whether any of the options is."""
        return self != AuthOptions()

    @property
    def _is_about_secret(self) -> bool:
        return bool(self._given_of_secret)

    @property
    def _given_of_secret(self) -> list[str]:
        options = {
            "--username": bool(self.username),
            "--header-name": bool(self.header_name),
            "--secret-stdin": self.secret_stdin,
            "--secret-env": self.secret_env is not None,
            "--secret-ref": bool(self.secret_ref),
        }
        return [option for option, is_given in options.items() if is_given]

    def _config(self, kind: AuthType | None) -> dict[str, Given] | None:
        if kind is None:
            return None
        config: dict[str, Given] = {}
        if self.username is not None:
            config["username"] = self.username
        if self.header_name is not None:
            config["header_name"] = self.header_name
        if kind is not AuthType.NONE or self._is_about_secret:
            config[SECRET_FIELDS.get(kind, "secret")] = self._secret(kind)
        return config

    def _secret(self, kind: AuthType) -> Secret | Reference:
        given = [self.secret_stdin, self.secret_env is not None, self.secret_ref is not None]
        if sum(given) > 1:
            raise InvalidInput(
                "the secret is given more than once",
                "keep only one of --secret-stdin, --secret-env, --secret-ref",
            )
        if self.secret_ref is not None:
            return Reference.parse(self.secret_ref)
        if self.secret_env is not None:
            return _from_variable(self.secret_env)
        if self.secret_stdin:
            return _from_stdin()
        if sys.stdin is not None and sys.stdin.isatty():
            return _from_person(SECRET_FIELDS.get(kind, "secret"))
        raise InvalidInput(
            f"--auth {kind} needs a secret, and there is no terminal to ask for it",
            "give it with --secret-stdin, --secret-env VAR or --secret-ref env:VAR|file:PATH",
        )

    def _headers(self) -> dict[str, Secret | Reference] | None:
        if self.header is None and self.header_ref is None:
            return None
        pairs: list[tuple[str, Secret | Reference]] = []
        for text in self.header or ():
            name, value = _pair(text, "--header NAME=VALUE")
            pairs.append((name, Secret(value)))
        for text in self.header_ref or ():
            name, value = _pair(text, "--header-ref NAME=env:VARIABLE")
            pairs.append((name, Reference.parse(value)))
        if len({name.casefold() for name, _ in pairs}) != len(pairs):
            raise InvalidInput("a header is given twice")
        return dict(pairs)


takes_auth = takes("auth", AuthOptions)


def _from_variable(name: str) -> Secret:
    value = os.environ.get(name)
    if not value:
        # what does not look like a variable may be the secret itself, given in the wrong place
        if not _USUAL_VARIABLE.fullmatch(name):
            name = "that was named"
        raise InvalidInput(
            f"the variable {name} is not set, or empty", "export it first, or use --secret-stdin"
        )
    return Secret(value)


def _from_person(what: str) -> Secret:
    try:
        return Secret(getpass.getpass(f"{what.capitalize()}: ", stream=sys.stderr))
    except EOFError:
        raise typer.Abort from None


def _from_stdin() -> Secret:
    data = b""
    if sys.stdin is not None:
        data = sys.stdin.buffer.read(SECRET_LIMIT + 1)
    if len(data) > SECRET_LIMIT:
        raise InvalidInput(f"the secret on stdin is longer than {SECRET_LIMIT // 1024} KiB")
    try:
        return Secret(data.decode().rstrip("\r\n"))
    except UnicodeDecodeError:
        raise InvalidInput("the secret on stdin is not UTF-8 text") from None


def _pair(text: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput("a header has no value", f"write {form}")
    if ":" in name or " " in name:  # not repeated: "X-Key: the secret==" is a common mistake
        raise InvalidInput("a header is not written as a name and a value", f"write {form}")
    return name, value
