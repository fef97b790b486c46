"""An account of an emulator of AWS, for as long as a test or a file of tests needs it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

import pytest

from streaming.domain.stack import Stack
from streaming.edges.event_stream import EVENTS, HIGH_INTENT

SHARDS = 4


@contextmanager
def account(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty account over HTTP, where clients look: its address."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request, which no failure needs
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    for name, value in environment(address).items():
        patch.setenv(name, value)
    urlopen(Request(f"{address}/moto-api/reset", method="POST"), timeout=10).close()
    try:
        yield address
    finally:
        server.stop()


def environment(address: str) -> dict[str, str]:
    """Where clients look for an account."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def create_streams(patch: pytest.MonkeyPatch) -> None:
    """Give the account the streams of the stack `clickstream`, which behave as the service's do."""
    import boto3

    from tests.kinesis_service import be_the_service

    be_the_service(patch)
    for name in (EVENTS, HIGH_INTENT):
        stream = Stack("clickstream").part(name.replace("_", "-"))
        boto3.client("kinesis").create_stream(StreamName=stream, ShardCount=SHARDS)
