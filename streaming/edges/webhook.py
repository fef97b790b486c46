"""A webhook: JSON posted to an address that may hold a token, and that therefore no error and no log repeats."""

from collections.abc import Mapping
from typing import Any

import urllib3

from streaming.edges.secrets import SecretError, resolve

_SECONDS = 5.0
_REFUSED = (401, 403, 404, 410)


class WebhookError(Exception):
    """It was not taken; the message does not tell the address."""


def post(url: str, document: Mapping[str, Any]) -> None:
    """Post a document, without following redirects.

    Args:
        url: the address, or a reference to the secret that holds it.

    Raises:
        WebhookError: there was no answer in five seconds, or one that is no 2xx; or the secret cannot be read.
    """
    try:
        answer = urllib3.request(
            "POST", resolve(url), json=document, timeout=urllib3.Timeout(total=_SECONDS), retries=False, redirect=False
        )
        if answer.status in _REFUSED:
            resolve(url, anew=True)  # for the next one: the address may have been replaced
    except SecretError as error:
        raise WebhookError(str(error)) from error
    except urllib3.exceptions.HTTPError as error:
        raise WebhookError(type(error).__name__) from None
    if not 200 <= answer.status < 300:
        raise WebhookError(f"it answered {answer.status}")
