"""The rules of who may answer, as a small model: from what is known and what is true, to what must
come out.

Written from section 4 of the design, with names of its own and nothing of the package, so that both
can be compared. A build is a hex digit; its digest is 64 of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

REMOTE_BUILD = "f"  # what stands for it is computed by somebody else


class Kind(StrEnum):
    NATIVE = "native"
    V1 = "v1"  # Ollama, spoken to as v1
    OTHER = "other"  # v1, not Ollama
    EMULATION = "emulation"  # answers as Ollama, with one digest for whatever it runs


class Behaviour(StrEnum):
    """How a request for an answer, or for the list, fares. The codes are those of the errors it
    leads to.
    """

    WELL = "well"
    REFUSED = "no connection"
    CLOSED = "closed before an answer"
    STOPPED = "closed before an answer, and gone"
    S502 = "502"
    S503 = "503"
    S504 = "504"
    S404 = "404"
    S401 = "401"
    S429 = "429"
    S500 = "500"
    SILENT = "no answer in time"
    ERROR = "an error as the first record"
    BREAKS = "connection lost after the first record"
    KILLED = "runner killed after the first record"
    ENDS = "ends without saying that it is done"
    OTHER_NAME = "answers under another name"
    OTHER_NAME_LATE = "ends under another name"
    NAMELESS = "answers under no name"


AWAY = {
    Behaviour.REFUSED,
    Behaviour.CLOSED,
    Behaviour.STOPPED,
    Behaviour.S502,
    Behaviour.S503,
    Behaviour.S504,
}
# an answer passes on; a list is read before anything is sent, so it also does where it is closed
PASSING_ON = AWAY - {Behaviour.CLOSED} | {Behaviour.S404}
UNSENT = {Behaviour.REFUSED}  # the prompt does not even reach the server
BEFORE_THE_STREAM = PASSING_ON | {
    Behaviour.CLOSED,
    Behaviour.S401,
    Behaviour.S429,
    Behaviour.S500,
    Behaviour.SILENT,
}
UNSHOWN = BEFORE_THE_STREAM | {Behaviour.ERROR, Behaviour.OTHER_NAME, Behaviour.NAMELESS}
CODES: dict[Behaviour, set[str]] = {
    Behaviour.WELL: set(),
    Behaviour.REFUSED: {"server_unreachable"},
    Behaviour.CLOSED: {"server_unreachable"},
    Behaviour.STOPPED: {"server_unreachable"},
    Behaviour.S502: {"upstream_error"},
    Behaviour.S503: {"server_busy"},
    Behaviour.S504: {"upstream_error"},
    Behaviour.S404: {"model_not_found"},
    Behaviour.S401: {"server_unauthorized"},
    Behaviour.S429: {"server_busy"},
    Behaviour.S500: {"upstream_error"},
    Behaviour.SILENT: {"server_unreachable"},
    Behaviour.ERROR: {"upstream_error"},
    Behaviour.BREAKS: {"stream_interrupted"},
    Behaviour.KILLED: {"stream_interrupted", "upstream_error"},
    Behaviour.ENDS: {"stream_interrupted"},
    Behaviour.OTHER_NAME: {"model_mismatch"},
    Behaviour.OTHER_NAME_LATE: {"model_mismatch"},
    Behaviour.NAMELESS: {"model_mismatch", "stream_interrupted", "upstream_error"},
}
UNSEEN = {"digest", "changed"}  # a name that is back where it was looks as if it had stood still


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A name in a list, and the build that it stands for; None: the list does not tell."""

    name: str
    build: str | None = None

    @property
    def is_remote(self) -> bool:
        return self.build == REMOTE_BUILD or is_cloud(self.name)


class When(StrEnum):
    AT_SENDING = "between the look at the list and the request"
    WHILE_ANSWERING = "while the model answers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Every name of the server is pointed at this build, or removed (None)."""

    build: str | None
    when: When = When.WHILE_ANSWERING


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A row and the catalogue, then the truth: the list as it stands, and how requests fare. With
    `has_failed` others that may answer are asked first; one that `stops` is gone after a prompt. A
    list that is `remembered` from the last second is as good as a look, where nobody but the server
    asked before demands a build, and the build is looked at behind the answer.
    """

    name: str
    kind: Kind = Kind.NATIVE
    is_registered: bool = True
    is_checked: bool = True
    is_active: bool = True
    is_default: bool = False
    is_full: bool = False
    has_failed: bool = False
    stops: bool = False
    priority: int = 0
    catalogue: tuple[Tag, ...] = ()
    tags: tuple[Tag, ...] = ()
    remembered: tuple[Tag, ...] | None = None
    move: Move | None = None
    listing: Behaviour = Behaviour.WELL
    listing_afterwards: Behaviour = Behaviour.WELL
    answering: Behaviour = Behaviour.WELL

    @property
    def is_ollama(self) -> bool:
        return self.kind is not Kind.OTHER

    @property
    def shows_builds(self) -> bool:
        return self.kind in (Kind.NATIVE, Kind.V1)

    def found(self, tags: Iterable[Tag], model: str) -> list[Tag]:
        """The names that mean the model on this server."""
        if not self.is_ollama:
            return [tag for tag in tags if tag.name == model]
        return [tag for tag in tags if folded(tag.name) == folded(model)]

    def build_known(self, tag: Tag) -> str | None:
        """The build that the catalogue's word tells apart from others."""
        return tag.build if self.shows_builds and not tag.is_remote else None

    def build_now(self, name: str) -> str | None:
        return next((tag.build for tag in self.tags if tag.name == name), None)

    def lists(self, name: str) -> bool:
        return any(tag.name == name for tag in self.tags)

    @property
    def tags_moved(self) -> tuple[Tag, ...]:
        """The list once the move is made."""
        moved = (self.tag_when(When.WHILE_ANSWERING, tag.name) for tag in self.tags)
        return tuple(tag for tag in moved if tag is not None)

    def tag_when(self, when: When, name: str) -> Tag | None:
        """What the name is once the moves up to `when` are made; None: it is removed."""
        if not self.lists(name):
            return None
        if self.move is None or (
            self.move.when is When.WHILE_ANSWERING and when is When.AT_SENDING
        ):
            return Tag(name=name, build=self.build_now(name))
        return Tag(name=name, build=self.move.build) if self.move.build else None


class Place(StrEnum):
    SERVER = "--server"
    URL = "--server-url"
    V1_URL = "--server-url, ending in /v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request; `at` is the server that `place` means. Nobody waits for a place. The pin is that
    of the model. With `proves_behind` the build of a server that follows another one is looked at
    before, and behind the answer, which stands.
    """

    model: str
    place: Place | None = None
    at: int = 0
    digest: str | None = None
    pin: str | None = None
    verified: bool = False
    no_verify: bool = False
    allow_remote: bool = False
    proves_behind: bool = False

    @property
    def demanded(self) -> set[str]:
        return {build for build in (self.digest, self.pin) if build}

    @property
    def demands(self) -> bool:
        return bool(self.demanded) or self.verified


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An accepted answer: the name sent, the build that spoke, and the proofs that may be told of
    it.

    `proven` is the build that the proof `digest` means: the one that spoke, where that can be seen.
    """

    server: str
    name: str
    build: str | None
    proven: str | None
    proofs: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An answer, or an error with one of these codes.

    `sent` are the servers that the prompt must reach, `maybe_sent` those that it may; of `shown` a
    part was shown.
    """

    answer: Answer | None = None
    errors: frozenset[str] = frozenset()
    sent: frozenset[str] = frozenset()
    maybe_sent: frozenset[str] = frozenset()
    shown: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One server asked for one name: what it leads to, and whether the next one is asked then."""

    answer: Answer | None = None
    errors: set[str] = field(default_factory=set)
    is_sent: bool = True
    shown: str | None = None
    passes_on: bool = False


def verdict(servers: tuple[Server, ...], asked: Asked) -> Verdict:
    """What must come of the request."""
    clashes = asked.pin is not None and (asked.no_verify or asked.digest not in (None, asked.pin))
    if asked.place is None:
        return _error("conflict") if clashes else _of_the_fleet(servers, asked)
    server = servers[asked.at]
    due = (
        _error("server_inactive")
        if asked.place is Place.SERVER and not server.is_active
        else _of_one(server, asked)
    )
    if not clashes:
        return due
    # which of two reasons is named is left open
    return _error("conflict", *(due.errors if not due.sent else ()))


def folded(name: str) -> str:
    """The name with `registry.ollama.ai`, `library` and `latest` filled in, in one case."""
    path, tag = _split(name)
    parts = path.split("/")
    return (
        "/".join(["registry.ollama.ai", "library"][: 3 - len(parts)] + parts).casefold()
        + f":{tag.casefold()}"
    )


def is_cloud(name: str) -> bool:
    tag = _split(name)[1].casefold()
    return tag == "cloud" or tag.endswith("-cloud")


def _split(name: str) -> tuple[str, str]:
    path, colon, tag = name.rpartition(":")
    return (path, tag) if colon and "/" not in tag else (name, "latest")


def _error(*codes: str) -> Verdict:
    return Verdict(errors=frozenset(codes))


def _of_one(server: Server, asked: Asked) -> Verdict:
    """A named server or URL answers, or nobody does."""
    knows_kind = server.is_checked and server.is_registered
    if not knows_kind and server.listing is not Behaviour.WELL:
        return _error(*CODES[server.listing])
    catalogue = server.catalogue if server.is_registered else ()
    # others must list it now
    known = server.found(catalogue, asked.model) if server.is_ollama else []
    busy = {"server_busy"} if server.is_full and server.is_registered else set()
    if not known and server.listing is not Behaviour.WELL:
        unasked = _without_leave(is_cloud(asked.model), asked) | _undemandable(
            server, [], Tag(name=asked.model), asked
        )
        return _error(*CODES[server.listing], *busy, *unasked)
    found = known or server.found(server.tags, asked.model)
    if not found:
        return _not_there(server, asked, busy)
    if len(found) > 1:
        return _error("model_ambiguous")
    refused = _without_leave(found[0].is_remote, asked) | _undemandable(
        server, known, found[0], asked
    )
    if refused:
        return _error(*refused)
    stored = server.build_known(known[0]) if known else None
    demanded = asked.demanded | ({stored} if asked.verified and stored else set())
    tried = _try(
        server, found[0], asked, demanded, stored if known else server.build_now(found[0].name)
    )
    if busy:
        return _error("server_busy", *(() if tried.is_sent else tried.errors))
    return _verdict([(server, tried)])


def _not_there(server: Server, asked: Asked, busy: set[str]) -> Verdict:
    refused = _without_leave(is_cloud(asked.model), asked)
    may_ask = server.is_ollama and not refused and not asked.demands and not busy
    codes = (
        {"model_not_found"}
        | refused
        | busy
        | ({"model_mismatch", "invalid_input"} if asked.demands else set())
    )
    if may_ask:  # it says so itself, if it gets to that
        codes |= CODES[server.answering]
    return Verdict(errors=frozenset(codes), maybe_sent=frozenset([server.name] if may_ask else []))


def _without_leave(is_remote: bool, asked: Asked) -> set[str]:
    return {"remote_not_allowed"} if is_remote and not asked.allow_remote else set()


def _undemandable(server: Server, known: list[Tag], tag: Tag, asked: Asked) -> set[str]:
    """Why the server cannot be asked for proof of the build."""
    if asked.demands and (not server.shows_builds or tag.is_remote):
        return {"model_mismatch"} | ({"invalid_input"} if asked.verified else set())
    if asked.verified and not (known and server.build_known(tag)):
        return {"model_mismatch", "invalid_input", "model_not_found"}
    return set()


def _of_the_fleet(servers: tuple[Server, ...], asked: Asked) -> Verdict:
    """The first of the eligible ones answers, or one with its build."""
    rows = [server for server in servers if server.is_registered and server.is_active]
    eligible: list[tuple[Server, Tag]] = []
    dropped: set[str] = set()
    is_ambiguous = False
    for server in sorted(rows, key=lambda row: (not row.is_default, -row.priority)):
        found = server.found(server.catalogue, asked.model)
        if len(found) > 1:
            is_ambiguous = is_ambiguous or not eligible
        elif found and (why := _drops_out(server, found[0], asked)):
            dropped.add(why)
        elif found:
            eligible.append((server, found[0]))
    if is_ambiguous:
        return _error("model_ambiguous", *(() if eligible else dropped))
    if not eligible:
        return _error(*(dropped or {"model_not_found"}))
    return _one_after_the_other(eligible, asked)


def _drops_out(server: Server, tag: Tag, asked: Asked) -> str | None:
    if asked.demands:
        build = server.build_known(tag)
        return None if build and asked.demanded <= {build} else "model_mismatch"
    return "remote_not_allowed" if _without_leave(tag.is_remote, asked) else None


def _one_after_the_other(eligible: list[tuple[Server, Tag]], asked: Asked) -> Verdict:
    (first, tag), *others = eligible
    build = first.build_known(tag)
    same = [(server, tag) for server, tag in others if build and server.build_known(tag) == build]
    candidates = sorted([(first, tag), *same], key=lambda one: one[0].has_failed)
    tries: list[tuple[Server, Try]] = []
    for server, listed in candidates:
        if server.is_full:
            continue
        demanded = asked.demanded | (
            {build} if build and (asked.verified or server is not first) else set()
        )
        tried = _try(server, listed, asked, demanded, server.build_known(listed))
        tries.append((server, tried))
        if not tried.passes_on:
            return _verdict(tries)
    if not tries and not first.is_ollama:  # its own list is read before a place is asked for
        unsent = _try(first, tag, asked, asked.demanded, None)
        return _error("server_busy", *(() if unsent.is_sent else unsent.errors))
    return _verdict(tries, any(server.is_full for server, _ in candidates))


def _verdict(tries: list[tuple[Server, Try]], is_full: bool = False) -> Verdict:
    """The last try decides; where all were away, the error may be that of any of them."""
    sent = frozenset(server.name for server, tried in tries if tried.is_sent)
    last = tries[-1][1] if tries else None
    if last is not None and not last.passes_on:
        return Verdict(
            answer=last.answer, errors=frozenset(last.errors), sent=sent, shown=last.shown
        )
    errors = {code for _, tried in tries for code in tried.errors} | (
        {"server_busy"} if is_full else set()
    )
    return Verdict(errors=frozenset(errors), sent=sent)


def _try(server: Server, tag: Tag, asked: Asked, demanded: set[str], known: str | None) -> Try:
    """`known` is the build that the name stood for before, as far as anybody knew."""
    # it might answer for any name: its list is read
    if not server.is_ollama and server.listing is not Behaviour.WELL:
        return Try(errors=CODES[server.listing], is_sent=False)
    if not server.is_ollama and not server.lists(tag.name):
        return Try(errors={"model_not_found"}, is_sent=False)
    if demanded and (refused := _without_the_build(server, tag, asked, demanded)):
        return refused
    speaker = server.tag_when(When.AT_SENDING, tag.name)
    fate = server.answering
    if speaker is None and fate not in BEFORE_THE_STREAM:
        fate = Behaviour.S404
    if fate in BEFORE_THE_STREAM:
        return Try(errors=CODES[fate], is_sent=fate not in UNSENT, passes_on=fate in PASSING_ON)
    return _answered(server, tag, asked, demanded, known, speaker or tag)


def _without_the_build(server: Server, tag: Tag, asked: Asked, demanded: set[str]) -> Try | None:
    """What the look before the prompt leads to, where it does not show the demanded build."""
    if asked.proves_behind and not asked.demanded and server.remembered is not None:
        server = replace(server, tags=server.remembered, listing=Behaviour.WELL)
    if server.listing is not Behaviour.WELL:
        codes = CODES[server.listing] | {"model_mismatch"}
        return Try(errors=codes, is_sent=False, passes_on=server.listing in AWAY)
    if not server.lists(tag.name):
        return Try(errors={"model_not_found", "model_mismatch"}, is_sent=False, passes_on=True)
    if demanded != {server.build_now(tag.name)}:
        return Try(errors={"model_mismatch"}, is_sent=False, passes_on=True)
    return None


def _answered(
    server: Server, tag: Tag, asked: Asked, demanded: set[str], known: str | None, speaker: Tag
) -> Try:
    """The stream has begun: it is accepted, or nobody's answer is."""
    says_remote = speaker.build == REMOTE_BUILD and _tells_more(server, asked)
    errors = _without_leave(says_remote, asked)
    shown = None if errors or server.answering in UNSHOWN else speaker.build
    # it did not answer from here: which of the two is left open
    errors |= {"model_mismatch"} if errors else set()
    errors |= CODES[server.answering]
    if errors:
        return Try(errors=errors, shown=shown)
    looked = server.build_now(tag.name) if server.listing is Behaviour.WELL else None
    before = next(iter(demanded), known or looked)
    proofs = _proofs(
        server, tag, asked, before, speaker, looks=not asked.no_verify or bool(demanded)
    )
    required = asked.demanded if asked.proves_behind else demanded
    if required and "digest" not in proofs:
        return Try(errors={"model_mismatch"}, shown=shown)
    is_unseen = proofs == UNSEEN
    answer = Answer(
        server=server.name,
        name=tag.name,
        build=speaker.build,
        proven=before if is_unseen else speaker.build,
        proofs=frozenset(proofs),
    )
    return Try(answer=answer, shown=shown)


def _proofs(
    server: Server, tag: Tag, asked: Asked, before: str | None, speaker: Tag, *, looks: bool
) -> set[str]:
    """What the list shows after the answer; `before` is what the name was known for. Where nothing
    was, the times of both tell.
    """
    looks = looks and server.shows_builds
    if tag.is_remote or (speaker.build == REMOTE_BUILD and _tells_more(server, asked)):
        return {"remote"} if looks else {"remote", "name"}
    if not looks:
        return {"name"}
    if server.listing_afterwards is not Behaviour.WELL:
        return {"unread"}
    after = server.tag_when(When.WHILE_ANSWERING, tag.name)
    if after is None:
        return {"changed"}
    if before is None:
        was_touched = server.move is not None and server.move.when is When.WHILE_ANSWERING
        return {"digest"} if _tells_more(server, asked) and not was_touched else {"changed"}
    # moved away before, and back while another build answered
    if after.build == before != speaker.build:
        return UNSEEN
    if after.build == before:
        moved_just_before = server.move is not None and server.move.when is When.AT_SENDING
        return UNSEEN if moved_just_before and not _tells_more(server, asked) else {"digest"}
    if after.build != speaker.build:
        return {"changed"}
    return _stands_elsewhere(server, asked, tag, speaker)


def _tells_more(server: Server, asked: Asked) -> bool:
    """Ollama's own dialect tells times, and whether somebody else computed the answer; v1 tells
    neither.
    """
    return server.kind in (Kind.NATIVE, Kind.EMULATION) and asked.place is not Place.V1_URL


def _stands_elsewhere(server: Server, asked: Asked, tag: Tag, speaker: Tag) -> set[str]:
    """The name stood for another build than the known one when the request came, and still does."""
    is_stored = server.is_registered and any(
        listed.name == tag.name and server.build_known(listed) for listed in server.catalogue
    )
    if not _tells_more(server, asked) or not is_stored:
        return {"changed"}
    was_touched = server.move is not None and server.move.when is When.WHILE_ANSWERING
    return {"drift", "changed"} if was_touched and server.move.build == speaker.build else {"drift"}
