"""What is asked of a model, in three nouns: what is said, who may answer, and on which terms.

A new option is a field of one of them, and an entry in the doors that offer it. What Ollama's API
has under the name of a field of `Question` is sent as it is, to servers that can carry it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from ollama_admin.domain.callers import Caller
from ollama_admin.domain.names import ModelName
from ollama_admin.domain.servers import ApiVersion, AuthType
from ollama_admin.domain.values import Given, Json, made_often
from ollama_admin.errors import InvalidInput

DEFAULT_WAIT = 300.0  # seconds that a request waits for a slot at a server

ThinkLevel = Literal["low", "medium", "high", "max"]
Message = Mapping[str, Json]


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is said to a model: a prompt, or a conversation in `messages`, as Ollama's API takes it.

    Fields have the names that they have there; None leaves one out. `images` are files as they are,
    which go beside the prompt; those of messages are in base64 already. `truncate` and `shift` are
    what the client itself wants done with a prompt that does not fit.
    """

    prompt: str = ""
    messages: Sequence[Message] | None = None
    system: str | None = None
    images: Sequence[bytes] = ()
    tools: Sequence[Message] = ()
    format: Literal["json"] | Mapping[str, Json] | None = None
    options: Mapping[str, Json] = field(default_factory=dict)
    think: bool | ThinkLevel | None = None
    keep_alive: float | str | None = None
    suffix: str | None = None
    template: str | None = None
    context: Sequence[int] | None = None
    raw: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    truncate: bool | None = None
    shift: bool | None = None

    def uncut(self) -> "Question":
        """This question, for a server to refuse where its context is too short: left to itself, it
        would cut the prompt and say nothing. What the question says of that itself stays.
        """
        truncate, shift = self.truncate, self.shift
        if truncate is None:
            truncate = False
        if shift is None:
            shift = False
        return replace(self, truncate=truncate, shift=shift)

    def said(self) -> dict[str, Any]:
        """The fields that say something, by name: those that are not as they are by default, and
        not an empty text or list.
        """
        values = {field.name: getattr(self, field.name) for field in fields(Question)}
        return {
            name: value
            for name, value in values.items()
            if value != _DEFAULTS[name] and not _is_empty(value)
        }


def _is_empty(value: object) -> bool:
    return isinstance(value, Sequence) and not value


_DEFAULTS = vars(Question())


@dataclass(frozen=True, kw_only=True)
class Route:
    """Who may answer: a model, and the one server of the fleet that is named, or the one at a URL.

    `capability` leaves servers and models that have it, `labels` servers that carry each of them:
    `gpu=a100`, or `gpu` with any value. `auth_type`, `auth_config` and `headers`
    are the credentials for a server at `server_url` that no row has.
    """

    model: str | None = None
    server: int | str | None = None
    server_url: str | None = None
    capability: str | None = None
    labels: Sequence[str] = ()
    auth_type: AuthType | str | None = None
    auth_config: Mapping[str, Given] | None = field(default=None, repr=False)
    headers: Mapping[str, Given] | None = field(default=None, repr=False)


def credentials_without_url() -> InvalidInput:
    """The error of credentials for a server that has its own, or for none."""
    return InvalidInput(
        "credentials are given without --server-url",
        "servers in the database have their own: ollama-admin server update S --auth KIND",
    )


@dataclass(frozen=True, kw_only=True)
class Terms:
    """On which terms an answer is accepted.

    `digest` (12 to 64 hex digits) and `verified` (the stored digest) demand a build; `no_verify`
    leaves the look at the build out. `allow_remote` lets the prompt leave the fleet,
    `allow_truncate` lets a server cut it. `wait` is seconds for a free slot at a server; `timeout`
    is seconds for the whole, where None leaves it to the limits of each step.
    """

    digest: str | None = None
    verified: bool = False
    no_verify: bool = False
    allow_remote: bool = False
    allow_truncate: bool = False
    wait: float = DEFAULT_WAIT
    timeout: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Asked(Route, Terms):
    """Who may answer and on which terms, of whatever is asked."""

    def route(self) -> Route:
        """Who may answer, and nothing else."""
        return Route(**self._values(Route))

    def terms(self) -> Terms:
        """On which terms, and nothing else."""
        return Terms(**self._values(Terms))

    def _values(self, noun: type[Question | Route | Terms]) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(noun)}


@dataclass(frozen=True, kw_only=True)
class GenerateRequest(Question, _Asked):
    """All three together: the keyword arguments of `Client`, the options of `generate`."""

    def question(self) -> Question:
        """What is said, and nothing else: it goes to a server field by field."""
        return Question(**self._values(Question))


@dataclass(frozen=True, kw_only=True)
class EmbedRequest(_Asked):
    """Texts to make vectors of, who may do that and on which terms. `dimensions` shortens the
    vectors, of models that can; None leaves them as they are.
    """

    input: Sequence[str] = ()
    dimensions: int | None = None
    options: Mapping[str, Json] = field(default_factory=dict)
    keep_alive: float | str | None = None


@made_often
class Request:
    """What the way to an answer depends on, whatever is carried there.

    `name` is the model that the route names, if it does. `cannot_carry` names, for each dialect
    that cannot express what is carried, what is lacking. `id` goes into its receipt. `affinity` is
    the key of the conversation that it belongs to, which one of equal servers is preferred for.
    `needs_vision` says that there are images, which a model without that capability would refuse.
    """

    name: ModelName | None
    route: Route
    terms: Terms
    caller: Caller
    id: str | None = None
    cannot_carry: Mapping[ApiVersion, str] = field(default_factory=dict)
    affinity: bytes | None = None
    needs_vision: bool = False
