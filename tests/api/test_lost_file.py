"""The SQLite file goes away under a service: it is seen and said, and nothing is written into the
void (C13).
"""

from pathlib import Path

from tests.api.service import Service


def test_removed_file_is_told_until_it_is_back(sqlite_url: str) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    new = {"name": "two", "url": "http://two"}
    with Service(sqlite_url) as service:
        added = service.ask("POST", "/api/servers", {"name": "one", "url": "http://one"})
        assert added.status_code == 201
        away = path.rename(path.with_name("away.db"))
        for method, route, body in (
            ("GET", "/readyz", None),
            ("GET", "/api/servers", None),
            ("POST", "/api/servers", new),
        ):
            refused = service.ask(method, route, body)
            code = refused.json()["error"]["code"]
            assert (refused.status_code, code) == (503, "database_unavailable")
        assert "was removed while it was in use" in refused.text
        assert not path.exists()
        away.rename(path)
        assert service.ask("GET", "/readyz").status_code == 200
        assert service.ask("POST", "/api/servers", new).status_code == 201
        names = [server["name"] for server in service.ask("GET", "/api/servers").json()]
        assert names == ["one", "two"]


def test_file_that_took_its_place_is_used(sqlite_url: str, migrated_sqlite_file: Path) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    with Service(sqlite_url) as service:
        service.ask("POST", "/api/servers", {"name": "one", "url": "http://one"})
        for file in path.parent.glob("one.db-*"):
            file.unlink()
        restored = path.with_name("restored.db")
        restored.write_bytes(migrated_sqlite_file.read_bytes())
        restored.rename(path)
        assert service.ask("GET", "/api/servers").json() == []
        assert service.ask("GET", "/readyz").status_code == 200
