"""A webhook over real HTTP: what is taken, what is not, and what an error does not tell."""

import time
import traceback
from collections.abc import Callable

import pytest

from streaming.edges import webhook
from streaming.edges.webhook import WebhookError
from streaming.runtime.servers import LOOPBACK, free_port
from tests.webhook_server import WebhookServer

DOCUMENT = {"text": "ü", "alert": "ledger_red"}


def test_a_document_arrives_as_json(webhook_server: WebhookServer) -> None:
    webhook.post(webhook_server.url, DOCUMENT)
    assert webhook_server.documents == [DOCUMENT]


@pytest.mark.parametrize("status", [301, 307, 400, 404, 500, 503])
def test_anything_but_a_success_is_an_error(webhook_server: WebhookServer, status: int) -> None:
    webhook_server.status = status
    with pytest.raises(WebhookError, match=f"^it answered {status}$"):
        webhook.post(webhook_server.url, DOCUMENT)


@pytest.mark.parametrize("listens", [True, False])
def test_no_error_tells_the_address(webhook_server: WebhookServer, listens: bool) -> None:
    webhook_server.status = 500
    url = webhook_server.url if listens else f"http://{LOOPBACK}:{free_port()}/services/T0KEN"
    with pytest.raises(WebhookError) as caught:
        webhook.post(url, DOCUMENT)
    assert "T0KEN" not in "".join(traceback.format_exception(caught.value))


def test_a_webhook_that_hangs_is_given_up(webhook_server: WebhookServer) -> None:
    webhook_server.hangs = True
    began = time.monotonic()
    with pytest.raises(WebhookError):
        webhook.post(webhook_server.url, DOCUMENT)
    assert time.monotonic() - began < 8


def test_an_address_that_is_kept_in_a_secret_may_be_replaced(
    webhook_server: WebhookServer, put_secret: Callable[[str, str], None]
) -> None:
    put_secret("shop/webhook", f"{webhook_server.url}/old")
    webhook_server.status = 404
    for _ in range(2):  # read, and read anew
        with pytest.raises(WebhookError, match=r"^it answered 404$"):
            webhook.post("secretsmanager:shop/webhook", DOCUMENT)
        put_secret("shop/webhook", webhook_server.url)
    webhook_server.status = 200
    webhook.post("secretsmanager:shop/webhook", DOCUMENT)

    assert webhook_server.documents == [DOCUMENT]
    assert webhook_server.paths == ["/services/T0KEN/old", "/services/T0KEN/old", "/services/T0KEN"]


def test_a_secret_that_cannot_be_read_is_named(put_secret: Callable[[str, str], None]) -> None:
    with pytest.raises(WebhookError, match=r"^the secret shop/unknown cannot be read: "):
        webhook.post("secretsmanager:shop/unknown", DOCUMENT)
