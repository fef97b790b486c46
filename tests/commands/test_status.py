import pytest

from commands.status import without_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mysql://shop:s3cret@db.example:3306/clickstream", "mysql://shop:***@db.example:3306/clickstream"),
        ("redis://:s3cret@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("mysql://root@127.0.0.1:3306/clickstream", "mysql://root@127.0.0.1:3306/clickstream"),
    ],
)
def test_addresses_are_shown_without_their_passwords(url: str, shown: str) -> None:
    assert without_password(url) == shown
