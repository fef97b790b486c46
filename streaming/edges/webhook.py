"""A webhook: JSON posted to an address that may hold a token, and that therefore no error and no log repeats."""

from collections.abc import Mapping
from typing import Any

import urllib3

_SECONDS = 5.0


class WebhookError(Exception):
    """It was not taken; the message does not tell the address."""


def post(url: str, document: Mapping[str, Any]) -> None:
    """Post a document, without following redirects.

    Raises:
        WebhookError: there was no answer in five seconds, or one that is no 2xx.
    """
    try:
        answer = urllib3.request(
            "POST", url, json=document, timeout=urllib3.Timeout(total=_SECONDS), retries=False, redirect=False
        )
    except urllib3.exceptions.HTTPError as error:
        raise WebhookError(type(error).__name__) from None
    if not 200 <= answer.status < 300:
        raise WebhookError(f"it answered {answer.status}")
