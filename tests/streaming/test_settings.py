import re
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from streaming import settings
from streaming.settings import ROOT, SettingError, default_start, load_settings, make_home

VARIABLE = re.compile(r'"([A-Z][A-Z_]+)"')


def test_every_setting_is_documented_and_every_documented_one_is_read() -> None:
    read = set(VARIABLE.findall(Path(settings.__file__).read_text()))
    documented = set(re.findall(r"^\| `([A-Z_]+)`", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE))
    assert documented == read


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLICKSTREAM_START", "yesterday"),
        ("CLICKSTREAM_SHARDS", "0"),
        ("CLICKSTREAM_SHARDS", "four"),
        ("CLICKSTREAM_DELIVERY_BUFFER_SECONDS", "inf"),
        ("CLICKSTREAM_DELIVERY_BUFFER_SECONDS", "nan"),
        ("CLICKSTREAM_DEPLOYMENT", "azure"),
        ("CLICKSTREAM_ENGINES", "flattened_events"),
        ("CLICKSTREAM_ENGINES", "events_by_type=spark"),
        ("CLICKSTREAM_TRUST_PAYLOAD_IP", "maybe"),
        ("COLLECTOR_PORT", "99999"),
        ("REDIS_URL", "foo"),
        ("REDIS_URL", "redis://localhost:port"),
        ("CACHE_REDIS_URL", "http://localhost"),
        ("MYSQL_URL", "mysql://localhost"),
        ("MYSQL_URL", "secretsmanager:"),
        ("DAGSTER_URL", "localhost:3000"),
    ],
)
def test_a_value_that_cannot_be_used_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=name):
        load_settings({name: value})


def test_an_address_may_be_that_of_a_secret_which_is_not_read_yet() -> None:
    assert load_settings({"MYSQL_URL": "secretsmanager:shop/mysql#url"}).mysql_url == "secretsmanager:shop/mysql#url"


def test_the_environment_wins_over_what_runs_and_that_over_the_default(tmp_path: Path) -> None:
    (tmp_path / settings.SERVICES_FILE).write_text(
        '{"environment": {"REDIS_URL": "redis://running", "MYSQL_URL": "mysql://running/shop"}}'
    )
    found = load_settings({"CLICKSTREAM_HOME": str(tmp_path), "MYSQL_URL": "mysql://mine/shop"})
    assert (found.redis_url, found.mysql_url, found.cache_redis_url) == ("redis://running", "mysql://mine/shop", "")


def test_the_tables_start_last_year_unless_told() -> None:
    assert default_start(date(2026, 11, 23)) == datetime(2025, 1, 1, tzinfo=UTC)
    assert load_settings({"CLICKSTREAM_START": "2021-07-01"}).start == datetime(2021, 7, 1, tzinfo=UTC)


def test_a_bound_is_told_in_plain_digits() -> None:
    with pytest.raises(SettingError, match="at least 150000000, not"):
        load_settings({"CLICKSTREAM_MEMORY_LIMIT_BYTES": "1"})


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = load_settings({"CLICKSTREAM_HOME": str(tmp_path / "file" / "home")}).home
    with pytest.raises(SettingError, match=r"CLICKSTREAM_HOME.*cannot be made"):
        make_home(home)
