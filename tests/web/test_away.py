"""The database away: each page says so, and comes back by itself."""

from tests.api.conftest import migrate
from tests.api.service import Service
from tests.postgres import OwnPostgresServer, TemplateDatabases
from tests.web.browsing import signed_in
from tests.web.test_pages import VIEWS, path_of

# what waits for nothing but the database: a form that was sent is not sent again by itself
PATHS = sorted({path_of(view) for view in VIEWS if view.method == "GET"})


def test_each_page_says_so_and_comes_back_by_itself(stoppable_postgres: OwnPostgresServer) -> None:
    url = TemplateDatabases(stoppable_postgres).copy(migrate)
    with Service(url) as service, signed_in(service) as person:
        before = {path: person.get(path).status_code for path in PATHS}
        stoppable_postgres.stop()
        for path in PATHS:
            answer = person.get(path)
            assert answer.status_code == 503, (path, answer.text)
            assert 'http-equiv="refresh"' in answer.text
            assert "database" in answer.text
            assert "password" not in answer.text
        stoppable_postgres.start()
        assert {path: person.get(path).status_code for path in PATHS} == before
        assert before["/ui/requests"] == before["/ui/usage"] == before["/ui/audit"] == 200
    stoppable_postgres.drop_database(url)
