"""A city-level geo database of three networks, in both layouts that are understood; and CloudFormation's stand-in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from tests.streaming.cloudformation import CloudFormation

RIVERSIDE = "169.235.214.44"


@pytest.fixture(scope="session")
def geo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flat layout, one file for IPv4 and one for IPv6, as the npm package has them."""
    folder = tmp_path_factory.mktemp("geo")
    ipv4 = MMDBWriter(ip_version=4, database_type="city ipv4", float_type="f32")
    ipv4.insert_network(
        IPSet(["169.235.0.0/16"]),
        {
            "city": "Riverside",
            "country_code": "US",
            "latitude": 33.97639846801758,
            "longitude": -117.33409881591797,
            "postcode": "92507",
            "state1": "California",
            "state2": "",
            "timezone": "America/Los_Angeles",
        },
    )
    ipv4.insert_network(
        IPSet(["23.32.0.0/11"]),
        {"city": "", "country_code": "US", "state1": "", "latitude": 37.751, "longitude": -97.8},
    )
    ipv4.insert_network(
        IPSet(["8.8.8.0/24"]), {"city": "", "country_code": "", "state1": "", "postcode": "", "timezone": ""}
    )
    ipv4.to_db_file(str(folder / "ipv4.mmdb"))
    ipv6 = MMDBWriter(ip_version=6, database_type="city ipv6", float_type="f32")
    ipv6.insert_network(IPSet(["2607:f8b0::/32"]), {"city": "", "country_code": "US", "state1": "California"})
    ipv6.to_db_file(str(folder / "ipv6.mmdb"))
    return folder


@pytest.fixture(scope="session")
def nested_geo_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MaxMind's own layout, IPv4 and IPv6 in one file."""
    file = tmp_path_factory.mktemp("geo") / "nested.mmdb"
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="GeoLite2-City", float_type="f64")
    writer.insert_network(
        IPSet(["169.235.0.0/16"]),
        {
            "city": {"names": {"en": "Riverside", "de": "Riverside"}},
            "country": {"iso_code": "US", "names": {"en": "United States"}},
            "location": {"latitude": 33.9764, "longitude": -117.3341},
            "subdivisions": [{"iso_code": "CA", "names": {"en": "California"}}, {"names": {"en": "Riverside County"}}],
        },
    )
    writer.insert_network(IPSet(["23.32.0.0/11"]), {"continent": {"code": "NA"}})
    writer.to_db_file(str(file))
    return file


@pytest.fixture
def cloudformation() -> Iterator[CloudFormation]:
    """Who calls a custom resource's function, and is told what came of it."""
    stand_in = CloudFormation()
    yield stand_in
    stand_in.close()
