"""The options that say what is asked, of whom, and on which terms.

An option whose name and value are those of a field of the request is written here once; `fields`
reads the others.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ollama_admin.cli.options import (
    complete_capability,
    complete_label,
    complete_model,
    complete_server,
    seconds,
    takes,
)
from ollama_admin.domain.files import read_regular_file
from ollama_admin.domain.images import KINDS, media_type
from ollama_admin.domain.requests import DEFAULT_WAIT
from ollama_admin.domain.times import keep_alive_of
from ollama_admin.domain.values import Json
from ollama_admin.errors import InvalidInput

# groups of options in the help
WHO_ANSWERS, WHAT_TO_SAY = "Who answers", "What to say"
HOW_LONG, WHICH_BUILD, PERMISSIONS = "How long", "Which build", "What may happen"

FILE_LIMIT = 64 * 1024 * 1024  # bytes of an image or a JSON schema


class ThinkLevelChoice(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    MAX = "max"


@dataclass(frozen=True, kw_only=True)
class _RouteOptions:
    """Who answers."""

    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="M",
            autocompletion=complete_model,
            help="The model that answers.",
            rich_help_panel=WHO_ANSWERS,
        ),
    ] = None
    server: Annotated[
        str | None,
        typer.Option(
            "-s",
            "--server",
            metavar="S",
            help="Only this server.",
            autocompletion=complete_server,
            rich_help_panel=WHO_ANSWERS,
        ),
    ] = None
    server_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Only the server at this URL.", rich_help_panel=WHO_ANSWERS
        ),
    ] = None
    capability: Annotated[
        str | None,
        typer.Option(
            metavar="C",
            autocompletion=complete_capability,
            help="Only servers or models with this capability.",
            rich_help_panel=WHO_ANSWERS,
        ),
    ] = None
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="K[=V]",
            autocompletion=complete_label,
            help="Only servers with this label, such as gpu=a100; may be repeated.",
            show_default=False,
            rich_help_panel=WHO_ANSWERS,
        ),
    ] = None

    def labels(self) -> tuple[str, ...]:
        """The field `labels` of a request."""
        return tuple(self.label or ())


@dataclass(frozen=True, kw_only=True)
class _SystemOptions:
    """What the model is told before anything is said."""

    system: Annotated[
        str | None, typer.Option(metavar="T", help="System prompt.", rich_help_panel=WHAT_TO_SAY)
    ] = None


@dataclass(frozen=True, kw_only=True)
class _FileOptions:
    """Files that go with a prompt, or say what its answer looks like."""

    image: Annotated[
        list[Path] | None,
        typer.Option(metavar="F", help="Image file; may be repeated.", rich_help_panel=WHAT_TO_SAY),
    ] = None
    format: Annotated[
        str | None,
        typer.Option(
            metavar="json|FILE",
            help="Answer in JSON, or to a JSON schema.",
            rich_help_panel=WHAT_TO_SAY,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class _ThinkOptions:
    """Whether the model thinks first."""

    think: Annotated[
        bool | None,
        typer.Option(
            "--think/--no-think",
            help="Let the model think first, or not.",
            rich_help_panel=WHAT_TO_SAY,
        ),
    ] = None
    think_level: Annotated[
        ThinkLevelChoice | None,
        typer.Option(help="How much to think.", show_default=False, rich_help_panel=WHAT_TO_SAY),
    ] = None

    def think_or_level(self) -> bool | str | None:
        """The field `think` of a request."""
        if self.think_level is None:
            return self.think
        if self.think is False:
            raise InvalidInput(
                "--no-think and --think-level are both given", "leave one of them out"
            )
        return self.think_level.value


@dataclass(frozen=True, kw_only=True)
class _ModelOptions:
    """What the model is told, whatever it is asked."""

    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="K=V", help="Model option, such as num_ctx=8192.", rich_help_panel=WHAT_TO_SAY
        ),
    ] = None
    keep_alive: Annotated[
        str | None,
        typer.Option(
            metavar="D", help="Keep the model loaded: 30, 5m, 1d, 0, -1.", rich_help_panel=HOW_LONG
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class _TermsOptions:
    """How long it may take, which build is accepted, and what may happen."""

    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="D",
            parser=seconds,
            help="For the whole answer: 30, 5m, 2h.",
            rich_help_panel=HOW_LONG,
        ),
    ] = None
    wait: Annotated[
        float,
        typer.Option(
            metavar="D",
            parser=seconds,
            help="Wait so long for a free slot; 0 does not wait.",
            rich_help_panel=HOW_LONG,
        ),
    ] = DEFAULT_WAIT
    digest: Annotated[
        str | None,
        typer.Option(
            metavar="D",
            help="Accept only this build: 12 or more digits of its digest.",
            rich_help_panel=WHICH_BUILD,
        ),
    ] = None
    verified: Annotated[
        bool,
        typer.Option(
            "--verified",
            help="Accept only the build that the last discovery found.",
            rich_help_panel=WHICH_BUILD,
        ),
    ] = False
    no_verify: Annotated[
        bool,
        typer.Option(
            "--no-verify",
            help="Do not check the build; compare names only.",
            rich_help_panel=WHICH_BUILD,
        ),
    ] = False
    allow_remote: Annotated[
        bool,
        typer.Option(
            "--allow-remote", help="Let the prompt leave the fleet.", rich_help_panel=PERMISSIONS
        ),
    ] = False
    allow_truncate: Annotated[
        bool,
        typer.Option(
            "--allow-truncate",
            help="Let the server cut a prompt that is too long.",
            rich_help_panel=PERMISSIONS,
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class RequestOptions(
    _TermsOptions, _ModelOptions, _ThinkOptions, _FileOptions, _SystemOptions, _RouteOptions
):
    """What the options say, by field of the request; files are named, and not read yet."""

    def fields(self) -> dict[str, Any]:
        """The keyword arguments of `Client.stream`; files are read now."""
        fields = asdict(self)
        for name in ("image", "option", "think_level", "label"):
            del fields[name]
        fields["labels"] = self.labels()
        fields["images"] = tuple(_read_image(path) for path in self.image or ())
        fields["format"] = _format(self.format)
        fields["options"] = model_options(self.option or ())
        fields["think"] = self.think_or_level()
        fields["keep_alive"] = keep_alive_of(self.keep_alive)
        return fields


@dataclass(frozen=True, kw_only=True)
class EmbedOptions(_TermsOptions, _ModelOptions, _RouteOptions):
    """What the options of `embed` say, by field of the request."""

    dimensions: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Numbers in each vector, of models that can shorten them.",
            rich_help_panel=WHAT_TO_SAY,
        ),
    ] = None

    def fields(self) -> dict[str, Any]:
        """The keyword arguments of `Client.embed`."""
        fields = asdict(self)
        del fields["label"]
        fields["labels"] = self.labels()
        fields["options"] = model_options(fields.pop("option") or ())
        fields["keep_alive"] = keep_alive_of(self.keep_alive)
        return fields


@dataclass(frozen=True, kw_only=True)
class ChatOptions(_TermsOptions, _ModelOptions, _ThinkOptions, _SystemOptions, _RouteOptions):
    """What the options of `chat` say, by field of the request."""

    def fields(self) -> dict[str, Any]:
        """The fields of each request of the conversation."""
        fields = asdict(self)
        del fields["think_level"], fields["label"]
        fields["labels"] = self.labels()
        fields["options"] = model_options(fields.pop("option") or ())
        fields["think"] = self.think_or_level()
        fields["keep_alive"] = keep_alive_of(self.keep_alive)
        return fields


takes_request = takes("asked", RequestOptions, first=True)
takes_embedding = takes("asked", EmbedOptions, first=True)
takes_chat = takes("asked", ChatOptions, first=True)


def _format(value: str | None) -> Any:
    if value is None or value == "json":
        return value
    if not Path(value).exists():
        raise InvalidInput(
            f"there is no file {value!a} with a JSON schema",
            "write --format json, or name a file that holds the schema",
        )
    data = _read_file(Path(value), "JSON schema")
    try:
        schema = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise InvalidInput(f"the JSON schema in {value} cannot be read") from exc
    if not isinstance(schema, dict):
        raise InvalidInput(f"the JSON schema in {value} is not an object")
    return schema


def _read_image(path: Path) -> bytes:
    data = _read_file(path, "image")
    if media_type(data) is None:
        raise InvalidInput(f"image {path} is not an image: it is not {KINDS}")
    return data


def _read_file(path: Path, what: str) -> bytes:
    data = read_regular_file(path, FILE_LIMIT, what).data
    if not data:
        raise InvalidInput(f"{what} {path} is empty")
    return data


def model_options(pairs: Sequence[str]) -> dict[str, Json]:
    """Values are JSON where they can be read so, else text; `stop` may be repeated."""
    options: dict[str, Json] = {}
    stops: list[Json] = []
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise InvalidInput(f"option {pair!a} has no value", "write it as --option num_ctx=8192")
        value = _value(text)
        if key == "stop":
            stops += value if isinstance(value, list) else [text]
            value = stops
        elif key in options:
            raise InvalidInput(f"option {key} is given twice")
        options[key] = value
    return options


def _value(text: str) -> Json:
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, float) and not math.isfinite(value):
        return text
    return value
