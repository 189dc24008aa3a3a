"""The one vocabulary of names: which words tell a role, a purpose, or one server from another.

A name is split into words at `_`, `-`, `.` and in camel case. The last ones tell the role; the
others tell which server is meant, as in `OLLAMA_BASE_URL_2`, `ollamaApiUrl`, `LLM_BINDING_HOST`.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import pairwise

from ollama_admin.domain.secret import OWN_VARIABLES
from ollama_admin.legacy.envfile import Binding
from ollama_admin.legacy.values import unquoted

NOT_UNDERSTOOD = "not understood"
SERVER_SETTING = "not a client setting"
OWN_SETTING = "a setting of ollama-admin itself, which takes none from here"
MODEL_LIST = "a list of model names: discover finds what each server holds"
NOT_ASKED = "an address for another use, not a server to ask"

KEY_LIMIT = 200  # characters; what is longer is no name of a variable


def _table(text: str, mark: str = ":") -> dict[str, list[str]]:
    """The words of each row by what stands before its mark; a row may go on indented."""
    rows = (row.partition(mark) for row in re.sub(r"\n +", " ", text.strip()).splitlines())
    return {name.strip(): words.split() for name, _, words in rows}


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


class Role(StrEnum):
    """What a variable tells of a server."""

    URL = "url"
    PORT = "port"
    TLS = "tls"
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
    CLIENT_ID = "client_id"
    CLIENT_SECRET = "client_secret"  # noqa: S105 (the name of a role)
    PROVIDER = "provider"


CF_HEADERS = {Role.CLIENT_ID: "CF-Access-Client-Id", Role.CLIENT_SECRET: "CF-Access-Client-Secret"}
AUTH_ROLES = frozenset(
    [Role.KEY, Role.USERNAME, Role.PASSWORD, Role.BASIC, Role.SCHEME, Role.HEADER, Role.HEADERS]
).union(CF_HEADERS)
SECRET_ROLES = AUTH_ROLES - {Role.USERNAME, Role.SCHEME}
_VERBATIM_ROLES = AUTH_ROLES - {Role.SCHEME, Role.HEADERS}
# The column that a role is for, where it has another name.
COLUMNS: Mapping[str, str] = dict.fromkeys(map(str, AUTH_ROLES), "auth_config") | {
    Role.SCHEME: "auth_type",
    Role.HEADERS: "headers",
    Role.MODEL: "default_model",
    Role.ACTIVE: "is_active",
}

# The last words of a name, by the role that they tell, in the order of preference.
ROLE_WORDS = _table("""
url: BASE_URL API_BASE_URL API_BASE API_URL URL HOST SERVER_URL ENDPOINT API_ENDPOINT BASE_PATH
    PROXY_URL SERVER NODE INSTANCE BASE ADDRESS ADDR URI HOSTNAME BACKEND API_HOST BASEURL
port: PORT
tls: SCHEME PROTOCOL PROTO SSL TLS HTTPS SECURE USE_SSL USE_TLS USE_HTTPS SSL_ENABLED TLS_ENABLED
    HTTPS_ENABLED ENABLE_SSL ENABLE_TLS ENABLE_HTTPS
name: NAME NICKNAME LABEL
model: MODEL MODEL_PREF MODEL_NAME MODEL_ID LLM DEFAULT_MODEL
capabilities: CAPABILITIES CAPABILITY
max_concurrent: MAX_CONCURRENT MAX_CONCURRENCY MAX_CONCURRENT_REQUESTS CONCURRENCY MAX_PARALLEL
priority: PRIORITY
active: ACTIVE ENABLED
configs: API_CONFIGS
key: API_KEY APIKEY AUTH_TOKEN BEARER_TOKEN API_TOKEN ACCESS_TOKEN AUTH_KEY TOKEN KEY SECRET
username: USERNAME USER AUTH_USERNAME AUTH_USER BASIC_AUTH_USERNAME BASIC_AUTH_USER
password: PASSWORD PASS AUTH_PASSWORD AUTH_PASS BASIC_AUTH_PASSWORD BASIC_AUTH_PASS
basic: BASIC_AUTH AUTH_BASIC
scheme: AUTH_SCHEME AUTH_TYPE
header: AUTH_HEADER AUTH_HEADER_NAME API_KEY_HEADER
headers: HEADERS HEADERS_JSON EXTRA_HEADERS CUSTOM_HEADERS
client_id: CF_ACCESS_CLIENT_ID CF_CLIENT_ID CLOUDFLARE_ACCESS_CLIENT_ID
client_secret: CF_ACCESS_CLIENT_SECRET CF_CLIENT_SECRET CLOUDFLARE_ACCESS_CLIENT_SECRET
provider: PROVIDER BINDING ENGINE TYPE API_TYPE DRIVER VENDOR
""")
# Those with one value for each server of a list.
LIST_WORDS = _table("""
url: BASE_URLS API_BASE_URLS API_URLS URLS HOSTS SERVERS ENDPOINTS NODES INSTANCES SERVER_URLS
    BACKENDS WORKERS POOL
name: NAMES LABELS
priority: PRIORITIES
key: API_KEYS AUTH_TOKENS TOKENS KEYS
username: USERNAMES USERS
password: PASSWORDS
""")
# Keys of a JSON object that describes a server, in small letters and without punctuation.
_JSON_KEYS = _table("""
url: url baseurl host endpoint address apibase apiurl apibaseurl hostname uri
port: port
name: name nickname label
model: model defaultmodel
capabilities: capabilities
max_concurrent: maxconcurrent maxconcurrency maxconcurrentrequests concurrency
priority: priority
active: enable enabled active isactive
key: key apikey token authtoken bearertoken
username: username user
password: password
scheme: authtype authscheme
headers: headers
""")
JSON_LISTS = _set("servers instances nodes hosts endpoints")
# Variables of programs that a row of ours has no column for.
_WITHOUT_COLUMN = _table(
    f"""
{MODEL_LIST} = MODELS MODEL_LIST AVAILABLE_MODELS
    ALLOWED_MODELS
a time limit belongs to each request: --timeout = TIMEOUT TIMEOUT_SECONDS TIMEOUT_MS
    REQUEST_TIMEOUT RESPONSE_TIMEOUT CONNECT_TIMEOUT READ_TIMEOUT
an option belongs to each request: --option = TEMPERATURE NUM_CTX NUM_PREDICT TOP_P TOP_K SEED
    MODEL_TOKEN_LIMIT MAX_TOKENS CONTEXT_WINDOW
nothing is kept of it = VRAM VRAM_GB VRAM_MAP RAM_GB MAX_RETRIES RETRIES RETRY_DELAY
    BASIC_AUTH_ENABLED AUTH_ENABLED VERIFY_SSL SSL_VERIFY
""",
    "=",
)
# Ollama's own variables, of its server, its command line and its installer.
_SERVER_SETTINGS = _set(
    "KEEP_ALIVE LOAD_TIMEOUT CONTEXT_LENGTH NUM_PARALLEL MAX_LOADED_MODELS MAX_QUEUE "
    "MAX_TRANSFER_STREAMS ORIGINS DEBUG DEBUG_LOG_REQUESTS NOPRUNE NOHISTORY EDITOR "
    "GO_TEMPLATE FLASH_ATTENTION KV_CACHE_TYPE GPU_OVERHEAD SCHED_SPREAD LLM_LIBRARY "
    "IGPU_ENABLE VULKAN INTEL_GPU NO_CLOUD REMOTES CLOUD_BASE_URL AUTH EXPERIMENT INSTALL_DIR "
    "VERSION NO_START LIBRARY_PATH TMPDIR RUNNERS_DIR RUNNER_DIR NEW_ENGINE MULTIUSER_CACHE "
    "NEW_ESTIMATES"
)
# Words for what a model or a server is for, by the one that we call them.
_PURPOSES = _table("""
embedding: EMBEDDING EMBED EMBEDDINGS EMBEDDER
rerank: RERANK RERANKER RERANKING
vision: VISION VLM MULTIMODAL OCR
code: CODE CODING CODER
reasoning: REASONING THINKING
summary: SUMMARY SUMMARIZER SUMMARIZATION
chat: CHAT
""")
# Words that tell servers apart as a number does.
_WORDS = _set(
    "PRIMARY SECONDARY TERTIARY HEAVY MEDIUM LIGHT FAST SLOW SMALL LARGE BIG SMART MAIN BACKUP "
    "FALLBACK GPU CPU LOCAL REMOTE DEV STAGING PROD PRODUCTION"
)
CHAT = "chat"  # the one purpose that a default model has
NEVER_DEFAULT = frozenset({"embedding", "rerank", "vision"})
# Words that stand before a role and add nothing to it.
_PLAIN = _set(
    "SERVER NODE HOST INSTANCE ENDPOINT BACKEND WORKER PROVIDER BINDING ENGINE API LLM BASE AI "
    "MODEL DEFAULT"
)
# First words of a variable that switches something on: its value is no URL and no model.
_SWITCHES = frozenset({"USE", "ENABLE", "DISABLE", "HAS", "IS", "NO", "SKIP", "WITH"})
# Words of addresses that nobody asks a model at.
_NOT_ASKED = _set(
    "ORIGIN ORIGINS CORS ALLOWED WHITELIST ALLOWLIST CSP NO_PROXY HTTP_PROXY HTTPS_PROXY "
    "ALL_PROXY WEBHOOK CALLBACK REDIRECT DOCS DOWNLOAD RELEASE REPO GITHUB REGISTRY"
)
LOCAL_MODELS = frozenset({"LLM", "LOCAL", "AI", "DEFAULT", "MODEL"})  # and no other word


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A variable, what its name tells, and its value. `role` is None where the name tells none.

    `words` are those that tell which server is meant: `prefix` those before OLLAMA, `slot` a
    number, a size, a purpose or a word in small letters. `many` means one value for each server of
    a list; `rank` orders several names of one role; `odd` is a word behind OLLAMA that the
    vocabulary has not. `why` says why the variable goes nowhere, whatever its value.
    """

    binding: Binding
    text: str = field(repr=False)
    role: Role | None = None
    words: tuple[str, ...] = ()
    prefix: str = ""
    slot: str | None = None
    many: bool = False
    rank: int = 0
    ollama: bool = False
    odd: bool = False
    why: str | None = None

    @property
    def place(self) -> tuple[str, str | None]:
        """Which variables stand beside this one."""
        return self.prefix, self.slot

    @property
    def is_host(self) -> bool:
        """Whether `ollama` as its value is the name of a host."""
        return self.role is Role.URL and "HOST" in self.binding.key.upper()

    @property
    def purposes(self) -> set[str]:
        return set((self.slot or "").split("-")) & _PURPOSES.keys() - {CHAT}


def recognise(binding: Binding) -> Line:
    """What a variable is by its name, in any case; OLLAMA_MODELS with a folder is Ollama's own."""
    name, text = binding.key.upper(), (binding.value or "").strip()
    line = Line(binding=binding, text=text, ollama="OLLAMA" in name)
    is_folder = text.startswith(("/", "~", ".", "$", "%")) or "\\" in text
    if name.startswith(OWN_VARIABLES):
        return replace(line, why=OWN_SETTING)
    is_setting = line.ollama and name.removeprefix("OLLAMA_") in _SERVER_SETTINGS
    if is_setting or (name == "OLLAMA_MODELS" and is_folder):
        return replace(line, why=SERVER_SETTING)
    words = words_of(binding.key)
    is_switch = not _SWITCHES.isdisjoint(words[:1]) and "_".join(words[-2:]) not in _BY_PHRASE
    if len(name) > KEY_LIMIT or not words or is_switch:
        return line
    start, end, phrase = _phrase(words)
    return _described(line, phrase, words[:start] + words[end:])


def words_of(key: str) -> list[str]:
    """The words of a name, in capitals; a number behind a word is one of its own."""
    words = []
    for part in re.split(r"[^A-Za-z0-9.]+|(?<![0-9])\.|\.(?![0-9])", key[:KEY_LIMIT]):
        pieces = [part] if part.isupper() or part.islower() else _CAMEL.findall(part)
        words += [word for piece in pieces for word in _apart(piece.upper())]
    return words


def not_understood(key: str) -> str:
    """That a name is not understood, and which one a misspelt one may have meant."""
    words = words_of(key)
    role = "_".join(word for word in words if word != "OLLAMA" and not is_slot(word))
    close = difflib.get_close_matches(role, _BY_PHRASE, n=1, cutoff=0.85)
    if not close or role not in key.upper() or not _SWITCHES.isdisjoint(words):
        return NOT_UNDERSTOOD
    return f"{NOT_UNDERSTOOD}: did you mean {key.upper().replace(role, close[0])}?"


def _phrase(words: list[str]) -> tuple[int, int, str]:
    """Where the last role stands, the longest that ends there; behind it are slots alone."""
    for end in range(len(words), 0, -1):
        for start in range(end):
            phrase = "_".join(words[start:end])
            if phrase in _BY_PHRASE or phrase in _REASONS:
                return start, end, phrase
        if not (is_slot(words[end - 1]) or words[end - 1] == "OLLAMA"):
            break
    return len(words), len(words), ""


def _described(line: Line, phrase: str, others: list[str]) -> Line:
    prefix: list[str] = []
    slot: list[str] = []
    odd = False
    before = line.ollama
    for word in others:
        if word == "OLLAMA":
            before = False
        elif is_slot(word):
            number = word.isdecimal() and str(int(word))
            slot.append(number or _SLOTS.get(word, word.lower()))
        elif before or (not line.ollama and (word not in _PLAIN or word in ("LLM", "AI"))):
            prefix.append(word)
        elif word not in _PLAIN:
            slot.append(word.lower())
            odd = True
    role, many = _BY_PHRASE.get(phrase, (None, False))
    if role is None and others[-1:] and others[-1].isdecimal() and set(others[:-1]) <= _SERVERS:
        role = Role.URL  # OLLAMA_2, OLLAMA_SERVER_2
    pairs = {f"{one}_{two}" for one, two in pairwise(others)}
    why = _REASONS.get(phrase)
    if role in (Role.URL, None) and not _NOT_ASKED.isdisjoint(pairs.union(others)):
        why = why or NOT_ASKED
    text = line.text
    if role is Role.URL:
        text = unquoted(text)
    elif role in _VERBATIM_ROLES and not many:
        text = line.binding.value or ""
    return replace(
        line,
        text=text,
        role=role,
        words=tuple(sorted(others)),
        prefix="_".join(prefix),
        slot="-".join(slot) or None,
        many=many,
        rank=_RANKS.get(phrase, 0),
        odd=odd,
        why=why,
    )


def _apart(word: str) -> list[str]:
    """OLLAMA, a known word and a number, where they are written together."""
    match = re.fullmatch(r"(OLLAMA|)([A-Z]*)([0-9]{1,4}|)", word)
    if match is None or not (match[1] or match[2] in _KNOWN_WORDS):
        return [word]
    return list(filter(None, match.groups()))


def is_slot(word: str) -> bool:
    """Whether it is a number, a size, a purpose or the like."""
    return bool(_SIZE.fullmatch(word)) or word in _SLOTS


_SLOTS = {word: purpose for purpose, words in _PURPOSES.items() for word in words}
_SLOTS |= {word: word.lower() for word in _WORDS}
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9][0-9.]*[A-Za-z]?")
_SIZE = re.compile(r"[0-9]{1,4}|[0-9]{1,4}(?:\.[0-9])?[BM]")  # a model size, as 14B, is no number
_BY_PHRASE = {
    phrase: (Role(role), table is LIST_WORDS)
    for table in (ROLE_WORDS, LIST_WORDS)
    for role, phrases in table.items()
    for phrase in phrases
}
JSON_KEYS = {key: Role(role) for role, keys in _JSON_KEYS.items() for key in keys}
_RANKS = {phrase: rank for rank, phrase in enumerate(_BY_PHRASE)}
_REASONS = {phrase: why for why, phrases in _WITHOUT_COLUMN.items() for phrase in phrases}
_SERVERS = _PLAIN | {"OLLAMA"}
_KNOWN_WORDS = {word for phrase in _BY_PHRASE for word in phrase.split("_")}.union(_SLOTS, _PLAIN)
