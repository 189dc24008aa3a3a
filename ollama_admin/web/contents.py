"""Every page, in the order of the menu."""

from ollama_admin.web import ask, connect, fleet, imports, keys, models, requests, usage
from ollama_admin.web.page import Page

PAGES: tuple[Page, ...] = (
    fleet.PAGE,
    models.PAGE,
    requests.PAGE,
    usage.PAGE,
    ask.PAGE,
    connect.PAGE,
    keys.PAGE,
    imports.PAGE,
)
