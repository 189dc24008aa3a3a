"""The names that programs give their Ollama variables, as data: which words play which role, in
which positions.

A variable is read as `[PREFIX_]OLLAMA` with a role and perhaps a slot: a number, a model size or a
word that tells several servers apart. `OLLAMA_BASE_URL_2`, `OLLAMA_SERVER_2_NAME`,
`PROVIDER_OLLAMA_1_URL` and `OLLAMA_HOST_14B` are such variables.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

NOT_UNDERSTOOD = "not understood"
SERVER_SETTING = "not a client setting"
OWN_SETTING = "a setting of ollama-admin itself, which takes none from here"
MODEL_LIST = "a list of model names: discover finds what each server holds"

KEY_LIMIT = 200  # characters; what is longer is no name of a variable


class Role(StrEnum):
    """What a variable tells of a server."""

    URL = "url"
    PORT = "port"
    NAME = "name"
    MODEL = "model"
    CAPABILITIES = "capabilities"
    MAX_CONCURRENT = "max_concurrent"
    PRIORITY = "priority"
    ACTIVE = "active"
    CONFIGS = "configs"
    KEY = "key"
    USERNAME = "username"
    PASSWORD = "password"  # noqa: S105 (the name of a role)
    BASIC = "basic"
    SCHEME = "scheme"
    HEADER = "header"
    HEADERS = "headers"


AUTH_ROLES = frozenset(
    {Role.KEY, Role.USERNAME, Role.PASSWORD, Role.BASIC, Role.SCHEME, Role.HEADER, Role.HEADERS}
)
NUMBER_ROLES = frozenset({Role.MAX_CONCURRENT, Role.PRIORITY})

# What stands behind OLLAMA_. The order within a line is the order of preference.
_ROLES: tuple[tuple[Role, str], ...] = (
    (
        Role.URL,
        (
            "BASE_URL API_BASE_URL API_BASE API_URL URL HOST SERVER_URL ENDPOINT API_ENDPOINT "
            "BASE_PATH PROXY_URL"
        ),
    ),
    (Role.URL, "SERVER NODE INSTANCE BASE ADDRESS ADDR URI HOSTNAME"),
    (Role.PORT, "PORT"),
    (Role.NAME, "NAME NICKNAME LABEL"),
    (Role.MODEL, "MODEL DEFAULT_MODEL MODEL_PREF MODEL_NAME MODEL_ID LLM_MODEL"),
    (Role.CAPABILITIES, "CAPABILITIES CAPABILITY"),
    (
        Role.MAX_CONCURRENT,
        "MAX_CONCURRENT MAX_CONCURRENCY MAX_CONCURRENT_REQUESTS CONCURRENCY MAX_PARALLEL",
    ),
    (Role.PRIORITY, "PRIORITY"),
    (Role.ACTIVE, "ACTIVE ENABLED"),
    (Role.CONFIGS, "API_CONFIGS"),
    (Role.KEY, "API_KEY AUTH_TOKEN BEARER_TOKEN API_TOKEN ACCESS_TOKEN AUTH_KEY TOKEN KEY SECRET"),
    (Role.USERNAME, "USERNAME USER AUTH_USERNAME AUTH_USER BASIC_AUTH_USERNAME BASIC_AUTH_USER"),
    (Role.PASSWORD, "PASSWORD PASS AUTH_PASSWORD AUTH_PASS BASIC_AUTH_PASSWORD BASIC_AUTH_PASS"),
    (Role.BASIC, "BASIC_AUTH AUTH_BASIC"),
    (Role.SCHEME, "AUTH_SCHEME AUTH_TYPE"),
    (Role.HEADER, "AUTH_HEADER AUTH_HEADER_NAME API_KEY_HEADER"),
    (Role.HEADERS, "HEADERS HEADERS_JSON EXTRA_HEADERS CUSTOM_HEADERS"),
)
# One value for each server of a list.
_LIST_ROLES: tuple[tuple[Role, str], ...] = (
    (
        Role.URL,
        "BASE_URLS API_BASE_URLS API_URLS URLS HOSTS SERVERS ENDPOINTS NODES INSTANCES SERVER_URLS",
    ),
    (Role.NAME, "NAMES LABELS"),
    (Role.PRIORITY, "PRIORITIES"),
    (Role.KEY, "API_KEYS AUTH_TOKENS TOKENS KEYS"),
    (Role.USERNAME, "USERNAMES USERS"),
    (Role.PASSWORD, "PASSWORDS"),
)
# Variables of programs that a row of ours has no column for.
_WITHOUT_COLUMN: tuple[tuple[str, str], ...] = (
    (MODEL_LIST, "MODELS MODEL_LIST AVAILABLE_MODELS ALLOWED_MODELS"),
    (
        "a time limit belongs to each request: --timeout",
        (
            "TIMEOUT TIMEOUT_SECONDS TIMEOUT_MS REQUEST_TIMEOUT RESPONSE_TIMEOUT CONNECT_TIMEOUT "
            "READ_TIMEOUT"
        ),
    ),
    (
        "an option belongs to each request: --option",
        (
            "TEMPERATURE NUM_CTX NUM_PREDICT TOP_P TOP_K SEED MODEL_TOKEN_LIMIT MAX_TOKENS "
            "CONTEXT_WINDOW"
        ),
    ),
    (
        "nothing is kept of it",
        (
            "VRAM VRAM_GB VRAM_MAP RAM_GB MAX_RETRIES RETRIES RETRY_DELAY BASIC_AUTH_ENABLED "
            "AUTH_ENABLED VERIFY_SSL"
        ),
    ),
    (
        "a model for one purpose: name it with --model",
        "EMBEDDINGS_MODEL RERANK_MODEL SUMMARY_MODEL",
    ),
)
# Ollama's own variables, of its server, its command line and its installer.
_SERVER_SETTINGS = frozenset(
    "OLLAMA_" + name
    for name in [
        "KEEP_ALIVE",
        "LOAD_TIMEOUT",
        "CONTEXT_LENGTH",
        "NUM_PARALLEL",
        "MAX_LOADED_MODELS",
        "MAX_QUEUE",
        "MAX_TRANSFER_STREAMS",
        "ORIGINS",
        "DEBUG",
        "DEBUG_LOG_REQUESTS",
        "NOPRUNE",
        "NOHISTORY",
        "EDITOR",
        "GO_TEMPLATE",
        "FLASH_ATTENTION",
        "KV_CACHE_TYPE",
        "GPU_OVERHEAD",
        "SCHED_SPREAD",
        "LLM_LIBRARY",
        "IGPU_ENABLE",
        "VULKAN",
        "INTEL_GPU",
        "NO_CLOUD",
        "REMOTES",
        "CLOUD_BASE_URL",
        "AUTH",
        "EXPERIMENT",
        "INSTALL_DIR",
        "VERSION",
        "NO_START",
        "LIBRARY_PATH",
        "TMPDIR",
        "RUNNERS_DIR",
        "RUNNER_DIR",
        "NEW_ENGINE",
        "MULTIUSER_CACHE",
        "NEW_ESTIMATES",
    ]
)
# Words that tell servers apart as a number does.
_WORDS = (
    "PRIMARY SECONDARY TERTIARY HEAVY MEDIUM LIGHT FAST SLOW SMALL LARGE BIG MAIN BACKUP FALLBACK "
    "GPU CPU LOCAL REMOTE "
    "DEV STAGING PROD PRODUCTION VISION CHAT CODE CODING REASONING EMBED EMBEDDING EMBEDDINGS"
)
# Words for a server that may stand before a role or a number and add nothing to it.
_KINDS = "SERVER NODE HOST INSTANCE ENDPOINT BACKEND WORKER PROVIDER"
# First words of a variable that switches something on: its value is no URL and no model.
_SWITCHES = frozenset({"USE", "ENABLE", "DISABLE", "HAS", "IS", "NO", "SKIP", "WITH"})

# Keys of a JSON object that describes a server, in small letters and without punctuation.
JSON_KEYS: dict[str, Role] = {
    key: role
    for role, keys in (
        (Role.URL, "url baseurl host endpoint address apibase apiurl apibaseurl hostname uri"),
        (Role.PORT, "port"),
        (Role.NAME, "name nickname label"),
        (Role.MODEL, "model defaultmodel"),
        (Role.CAPABILITIES, "capabilities"),
        (Role.MAX_CONCURRENT, "maxconcurrent maxconcurrency maxconcurrentrequests concurrency"),
        (Role.PRIORITY, "priority"),
        (Role.ACTIVE, "enable enabled active isactive"),
        (Role.KEY, "key apikey token authtoken bearertoken"),
        (Role.USERNAME, "username user"),
        (Role.PASSWORD, "password"),
        (Role.SCHEME, "authtype authscheme"),
        (Role.HEADERS, "headers"),
    )
    for key in keys.split()
}
JSON_LISTS = frozenset({"servers", "instances", "nodes", "hosts", "endpoints"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """A variable that tells something of a server.

    `slot` is a number, a size or a word in small letters, None without one; `rank` orders several
    names of one role.
    """

    role: Role
    prefix: str = ""
    slot: str | None = None
    many: bool = False
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Unused:
    """A variable that concerns Ollama and no column of ours."""

    why: str

    @property
    def unknown(self) -> bool:
        return self.why == NOT_UNDERSTOOD


def recognise(key: str, value: str | None = None) -> Recognised | Unused | None:
    """What a variable is by its name; None when it has nothing to do with Ollama. Case does not
    matter.

    Only `OLLAMA_MODELS` needs the value: a folder is Ollama's own setting, anything else a list of
    names.
    """
    name = key.upper()
    if name == "DEFAULT_MODEL":
        return Recognised(role=Role.MODEL, rank=len(_RANKS))
    if "OLLAMA" not in name:
        return None
    if name.startswith("OLLAMA_ADMIN_"):
        return Unused(why=OWN_SETTING)
    if name in _SERVER_SETTINGS or (name == "OLLAMA_MODELS" and _is_folder(value or "")):
        return Unused(why=SERVER_SETTING)
    if len(name) > KEY_LIMIT:
        return Unused(why=NOT_UNDERSTOOD)
    for form in _FORMS:
        match = form.fullmatch(name)
        if match is not None:
            return _from_form(match)
    return Unused(why=NOT_UNDERSTOOD)


def _from_form(match: re.Match[str]) -> Recognised | Unused:
    groups = match.groupdict()
    prefix = match["prefix"] or ""
    if prefix.partition("_")[0] in _SWITCHES:
        return Unused(why=NOT_UNDERSTOOD)
    word = groups.get("role") or "URL"
    slot = groups.get("slot")
    if word in _REASONS:
        return Unused(why=_REASONS[word])
    if slot and slot.isdecimal():
        slot = str(int(slot))
    role, many = _BY_WORD[word]
    return Recognised(
        role=role,
        prefix=prefix,
        slot=slot and slot.lower(),
        many=many,
        rank=_RANKS.index(word),
    )


def _is_folder(value: str) -> bool:
    return value.strip().startswith(("/", "~", ".", "$", "%")) or "\\" in value


_BY_WORD: dict[str, tuple[Role, bool]] = {
    word: (role, many)
    for table, many in ((_ROLES, False), (_LIST_ROLES, True))
    for role, words in table
    for word in words.split()
}
_RANKS = tuple(_BY_WORD)
_REASONS = {word: why for why, words in _WITHOUT_COLUMN for word in words.split()}


def _any_of(words: str) -> str:
    return "|".join(sorted(words.split(), key=len, reverse=True))


_ROLE_WORDS = " ".join(list(_BY_WORD) + list(_REASONS))
_ROLE = f"(?P<role>{_any_of(_ROLE_WORDS)})"
_KIND = f"(?:{_any_of(_KINDS)})"
_NAMED_SLOT = (
    rf"[0-9]{{1,4}}(?:\.[0-9])?[BM]|{_any_of(_WORDS)}"  # a model size, as in 14B, is no number
)
_PREFIX = "(?:(?P<prefix>[A-Z][A-Z0-9_]*)_)?"
_FORMS = tuple(
    re.compile(_PREFIX + form)
    for form in (
        rf"OLLAMA_(?:{_KIND}_)?{_ROLE}(?:_(?P<slot>[0-9]{{1,4}}|{_NAMED_SLOT}))?",
        rf"OLLAMA_(?:{_KIND}_)?{_ROLE}(?P<slot>[0-9]{{1,4}})",
        rf"OLLAMA_?(?:{_KIND}_?)?(?P<slot>[0-9]{{1,4}}|{_NAMED_SLOT})_{_ROLE}",
        rf"OLLAMA_?(?:{_KIND}_?)?(?P<slot>[0-9]{{1,4}})",
    )
)
