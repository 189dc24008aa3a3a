from tests.api.conftest import (  # noqa: F401 (fixtures for here too)
    api,
    fakes,
    nothing_takes_long_on_the_loop,
    shared_api,
    spawn,
    sqlite_api,
    sqlite_url,
)
