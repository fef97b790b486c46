"""Clients of AWS ask again for what broke off, and say so where it always does."""

import pytest
from botocore.exceptions import ConnectionClosedError

from streaming.edges import backoff
from streaming.edges.aws import client
from tests.aws_proxy import AwsProxy, Faults, break_off


@pytest.mark.parametrize(("times", "whole"), [(2, True), (100, False)])
def test_an_answer_that_breaks_off_is_asked_for_again(
    aws: str, monkeypatch: pytest.MonkeyPatch, times: int, whole: bool
) -> None:
    monkeypatch.setattr(backoff, "_MAX_PAUSE_SECONDS", 0.02)
    client("glue").create_database(DatabaseInput={"Name": "lake"})
    with AwsProxy(aws, Faults(break_off, times, lambda _: True)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        glue = client("glue", attempts=4)
        if whole:
            assert [each["Name"] for each in glue.get_databases()["DatabaseList"]] == ["lake"]
        else:
            with pytest.raises(ConnectionClosedError, match="GetDatabases"):
                glue.get_databases()
        assert proxy.count("GetDatabases") == (times + 1 if whole else 4)
