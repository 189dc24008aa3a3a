"""The options of `key add` and `key update`: a column of a key each."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ollama_admin.cli.options import complete_model, complete_server, takes
from ollama_admin.domain.times import point_ahead

if TYPE_CHECKING:
    from ollama_admin.domain.keys import KeyColumns


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOptions:
    """What the options say, by column; None for what is not given."""

    can: Annotated[
        list[str] | None,
        typer.Option(
            "--can",
            metavar="C",
            help="What it may: ask, read, manage, admin; may be repeated. A new key may ask.",
        ),
    ] = None
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="GLOB",
            autocompletion=complete_model,
            help="Only these models, a name or a glob; may be repeated.",
        ),
    ] = None
    server: Annotated[
        list[str] | None,
        typer.Option(
            "--server",
            metavar="GLOB",
            autocompletion=complete_server,
            help="Only these servers: a name, a glob, or label:gpu=a100; may be repeated.",
        ),
    ] = None
    allow_remote: Annotated[
        bool | None,
        typer.Option("--allow-remote/--no-allow-remote", help="Its prompts may leave the fleet."),
    ] = None
    allow_truncate: Annotated[
        bool | None,
        typer.Option("--allow-truncate/--no-allow-truncate", help="Its prompts may be cut."),
    ] = None
    network: Annotated[
        list[str] | None,
        typer.Option("--network", metavar="CIDR", help="Only from this network; may be repeated."),
    ] = None
    anonymous: Annotated[
        bool | None,
        typer.Option(
            "--anonymous/--no-anonymous",
            help="Requests without a key from its networks are its own.",
        ),
    ] = None
    max_concurrent: Annotated[
        int | None, typer.Option(metavar="N", help="Requests it may have answered at once.")
    ] = None
    requests_per_minute: Annotated[
        int | None, typer.Option(metavar="N", help="Requests in a minute of the clock.")
    ] = None
    tokens_per_day: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens, in and out, in a day of UTC.")
    ] = None
    weight: Annotated[
        int | None,
        typer.Option(metavar="N", help="Its turns where requests wait: N to 1 of another key."),
    ] = None
    expires_at: Annotated[
        str | None,
        typer.Option(metavar="T", help="Until then: 2027-01-31, 2027-01-31T12:00Z, or 90d, 24h."),
    ] = None
    note: Annotated[str | None, typer.Option(metavar="T", help="What people should know.")] = None

    def columns(self) -> "KeyColumns":
        end = None
        if self.expires_at is not None:
            end = point_ahead(self.expires_at, datetime.now(UTC))
        return {
            "can": self.can or None,
            "models": self.model or None,
            "servers": self.server or None,
            "networks": self.network or None,
            "allow_remote": self.allow_remote,
            "allow_truncate": self.allow_truncate,
            "anonymous": self.anonymous,
            "max_concurrent": self.max_concurrent,
            "requests_per_minute": self.requests_per_minute,
            "tokens_per_day": self.tokens_per_day,
            "weight": self.weight,
            "expires_at": end,
            "note": self.note,
        }


takes_key = takes("options", KeyOptions)
