"""Where the pages are, and which paths may be gone to after a sign-in."""

import re

ROOT = "/ui/"
SIGN_IN = "/ui/sign-in"
SIGN_OUT = "/ui/sign-out"
EVENTS = "/ui/events"
STATIC = "/ui/static/"
_OWN = re.compile(r"/ui/[A-Za-z0-9_~/.%=&?+:,@-]*")


def is_page(path: str) -> bool:
    """Whether a path is one of the pages, which know who may come in by themselves."""
    return path == "/ui" or path.startswith(ROOT)


def own_path(text: str) -> str:
    """A path below `/ui/` that somebody else may have written; that of the first page for one
    which leads elsewhere.
    """
    is_plain = _OWN.fullmatch(text) is not None and "//" not in text
    if not is_plain or "/." in text or "%2e" in text.lower() or "%2f" in text.lower():
        return ROOT
    return text
