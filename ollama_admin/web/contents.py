"""Every page, in the order of the menu."""

from ollama_admin.web import (
    ask,
    audit,
    connect,
    doctor,
    fleet,
    imports,
    keys,
    models,
    pins,
    requests,
    usage,
)
from ollama_admin.web.page import Page

PAGES: tuple[Page, ...] = (
    fleet.PAGE,
    models.PAGE,
    requests.PAGE,
    usage.PAGE,
    ask.PAGE,
    connect.PAGE,
    keys.PAGE,
    pins.PAGE,
    imports.PAGE,
    audit.PAGE,
    doctor.PAGE,
)
