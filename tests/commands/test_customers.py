import pytest
from click.testing import CliRunner, Result

from commands.customers import customers
from streaming.edges.user_cache import UserCache
from streaming.edges.users_db import UsersDb
from streaming.handlers import data_update


@pytest.fixture
def system(mysql_url: str, cache_redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYSQL_URL", mysql_url)
    monkeypatch.setenv("CACHE_REDIS_URL", cache_redis_url)
    data_update._edges.cache_clear()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(customers, arguments)


@pytest.mark.usefixtures("system")
def test_a_customer_who_signs_up_is_in_mysql_and_in_the_cache(mysql_url: str, cache_redis_url: str) -> None:
    result = run("add", "--name", "Zoë O'Hara", "--price-per-click", "0.25", "--id", "4711")
    assert (result.exit_code, result.output) == (0, "customer 4711: Zoë O'Hara\n")
    assert UsersDb(mysql_url).names(["4711"]) == {"4711": "Zoë O'Hara"}
    assert UserCache(cache_redis_url).look_up(["4711"], []).names == {"4711": "Zoë O'Hara"}


@pytest.mark.usefixtures("system")
def test_an_id_that_is_taken_is_refused() -> None:
    result = run("add", "--name", "Somebody Else", "--id", "20")
    assert result.exit_code == 1
    assert result.output == "Error: there is a customer 20 already\n"


@pytest.mark.usefixtures("system")
def test_without_the_cache_the_customer_stays(mysql_url: str, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_REDIS_URL", f"redis://127.0.0.1:{free_port}")
    result = run("add", "--name", "Mei Park", "--id", "4712")
    assert result.exit_code == 1
    assert "customer 4712 is added; the next refresh brings the name" in result.output
    assert UsersDb(mysql_url).names(["4712"]) == {"4712": "Mei Park"}


@pytest.mark.usefixtures("system")
def test_the_list_shows_the_newest_first() -> None:
    run("add", "--name", "Mei Park")
    result = run("list", "--limit", "1")
    assert "Mei Park" in result.output
    assert len(result.output.splitlines()) == 2


def test_a_customer_has_a_name() -> None:
    result = run("add", "--name", "  ")
    assert (result.exit_code, "--name" in result.output) == (2, True)


def test_where_nothing_runs_the_message_says_so(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKSTREAM_HOME", str(tmp_path))
    monkeypatch.delenv("MYSQL_URL", raising=False)
    assert "start the system with ./run up" in run("list").output
