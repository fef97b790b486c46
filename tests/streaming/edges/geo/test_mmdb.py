from pathlib import Path

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from streaming.domain.enrichment import Place
from streaming.edges.geo.ipinfo import IpinfoGeo
from streaming.edges.geo.mmdb import MmdbGeo, UnusableDatabaseError
from streaming.edges.geo.places import MissingPlace
from streaming.edges.geo.provider import open_geo
from streaming.settings import SettingError, load_settings
from tests.streaming.conftest import RIVERSIDE

RIVERSIDE_PLACE = Place("US", "California", "Riverside", 33.9764, -117.3341)


def test_the_flat_layout_of_two_files(geo_folder: Path) -> None:
    places = MmdbGeo(geo_folder).places([RIVERSIDE, "23.32.0.1", "2607:f8b0:4005:805::200e"])
    assert places == {
        RIVERSIDE: RIVERSIDE_PLACE,
        "23.32.0.1": Place("US", None, None, 37.751, -97.8),
        "2607:f8b0:4005:805::200e": Place("US", "California"),
    }


def test_the_nested_layout_of_one_file(nested_geo_file: Path) -> None:
    places = MmdbGeo(nested_geo_file).places([RIVERSIDE, "23.32.0.1"])
    assert places == {RIVERSIDE: RIVERSIDE_PLACE, "23.32.0.1": MissingPlace.NOT_FOUND}


def test_every_odd_address_has_its_reason(geo_folder: Path) -> None:
    reasons = {
        "": MissingPlace.INVALID_ADDRESS,
        "example.org": MissingPlace.INVALID_ADDRESS,
        "999.1.1.1": MissingPlace.INVALID_ADDRESS,
        "fe80::1%eth0": MissingPlace.INVALID_ADDRESS,
        "10.0.0.1": MissingPlace.PRIVATE_ADDRESS,
        "127.0.0.1": MissingPlace.PRIVATE_ADDRESS,
        "169.254.169.254": MissingPlace.PRIVATE_ADDRESS,
        "224.0.0.1": MissingPlace.PRIVATE_ADDRESS,
        "::1": MissingPlace.PRIVATE_ADDRESS,
        "::ffff:10.0.0.1": MissingPlace.PRIVATE_ADDRESS,
        "1.1.1.1": MissingPlace.NOT_FOUND,
        "8.8.8.8": MissingPlace.NOT_FOUND,
    }
    assert MmdbGeo(geo_folder).places(list(reasons)) == reasons


def test_a_file_of_ipv4_alone_knows_no_ipv6(geo_folder: Path) -> None:
    places = MmdbGeo(geo_folder / "ipv4.mmdb").places(["2607:f8b0::1", RIVERSIDE])
    assert places == {"2607:f8b0::1": MissingPlace.NOT_FOUND, RIVERSIDE: RIVERSIDE_PLACE}


def test_the_build_names_the_data(geo_folder: Path, nested_geo_file: Path) -> None:
    assert MmdbGeo(geo_folder).build == MmdbGeo(geo_folder).build
    assert MmdbGeo(geo_folder).build != MmdbGeo(nested_geo_file).build


def test_a_path_without_a_database_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.mmdb"):
        with pytest.raises(UnusableDatabaseError):
            MmdbGeo(path)
    (tmp_path / "bad.mmdb").write_bytes(b"no database")
    with pytest.raises(UnusableDatabaseError):
        MmdbGeo(tmp_path)
    with pytest.raises(SettingError, match="GEOIP_DATABASE cannot be used"):
        open_geo(load_settings({"GEOIP_DATABASE": str(tmp_path)}))


def test_damage_costs_places_only(geo_folder: Path, tmp_path: Path) -> None:
    content = bytearray((geo_folder / "ipv4.mmdb").read_bytes())
    data = content.index(b"Riverside")
    content[data - 12 : data + 40] = b"\xff" * 52
    (tmp_path / "damaged.mmdb").write_bytes(content)
    assert MmdbGeo(tmp_path).places([RIVERSIDE]) == {RIVERSIDE: MissingPlace.LOOKUP_FAILED}


def test_a_layout_that_is_not_known_costs_places_only(tmp_path: Path) -> None:
    writer = MMDBWriter(ip_version=4, database_type="standard_location")
    writer.insert_network(IPSet(["169.235.0.0/16"]), {"city": "Riverside", "country": "US", "lat": "33.9764"})
    writer.insert_network(IPSet(["23.32.0.0/11"]), {"country_code": "US", "latitude": "33.9764"})
    writer.to_db_file(str(tmp_path / "other.mmdb"))
    geo = MmdbGeo(tmp_path)
    assert set(geo.places([RIVERSIDE, "23.32.0.1"]).values()) == {MissingPlace.LOOKUP_FAILED}


def test_the_settings_choose_the_provider(geo_folder: Path) -> None:
    file = {"GEOIP_DATABASE": str(geo_folder)}
    assert isinstance(open_geo(load_settings(file)), MmdbGeo)
    assert isinstance(open_geo(load_settings(file | {"IPINFO_TOKEN": "secret"})), IpinfoGeo)


def test_without_a_provider_events_go_without_a_place(tmp_path: Path) -> None:
    geo = open_geo(load_settings({"CLICKSTREAM_HOME": str(tmp_path)}))
    assert geo.places([RIVERSIDE, "10.0.0.1"]) == {
        RIVERSIDE: MissingPlace.LOOKUP_FAILED,
        "10.0.0.1": MissingPlace.PRIVATE_ADDRESS,
    }
