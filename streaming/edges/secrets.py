"""Settings that are kept in AWS Secrets Manager, and only named where settings are: `secretsmanager:<id>`.

    secretsmanager:shop/redis                       the secret's text is the setting's value
    secretsmanager:shop/keys#ipinfo                 the text is JSON, and this member of it is the value
    secretsmanager:shop/mysql?ssl_ca=/opt/rds.pem   JSON as RDS writes it (username, password, host, port, dbname)
                                                    becomes a URL; a parameter of one of these names fills in for it

A secret is read when somebody connects with it, and remembered. Who is refused reads it anew: it may have been rotated.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from streaming.edges.aws import client
from streaming.settings import SECRET_SCHEME, SettingError

__all__ = ["SecretError", "is_reference", "resolve"]

_READ_SECONDS = 5
_ATTEMPTS = 3
_RDS_FIELDS = ("username", "password", "host", "port", "dbname")
_TLS = {"mysql": {"ssl_mode": "REQUIRED"}}

_known: dict[str, str] = {}


class SecretError(SettingError):
    """A secret cannot be read, or does not hold what is wanted; the message names it and nothing that it holds."""


def is_reference(value: str) -> bool:
    """Whether a setting names a secret instead of holding its value."""
    return value.startswith(f"{SECRET_SCHEME}:")


def resolve(value: str, scheme: str = "", *, anew: bool = False) -> str:
    """The value of a setting: itself, or what the secret holds that it names.

    Args:
        scheme: of the URL that is made of JSON: `mysql` or `rediss`.
        anew: what is remembered has been refused.

    Raises:
        SecretError
    """
    if not is_reference(value):
        return value
    reference = urlsplit(value)
    parameters = dict(parse_qsl(reference.query))
    text = _read(reference.path, anew)
    if reference.fragment:
        return _member(reference, text)
    if not text.lstrip().startswith("{"):
        return f"{text}?{urlencode(parameters, safe='/')}" if parameters else text
    return _url(reference.path, _members(reference.path, text), parameters, scheme)


def _url(secret: str, members: Mapping[str, Any], parameters: Mapping[str, str], scheme: str) -> str:
    fields = {name: str(value) for name, value in {**members, **parameters}.items() if name in _RDS_FIELDS}
    if "host" not in fields or "password" not in fields:
        raise SecretError(f"the secret {secret} holds no host and password")
    options = {name: value for name, value in parameters.items() if name not in _RDS_FIELDS} or _TLS.get(scheme, {})
    user, password = (quote(fields.get(name, ""), safe="") for name in ("username", "password"))
    place = f"{fields['host']}:{fields['port']}" if "port" in fields else fields["host"]
    database = quote(fields.get("dbname", ""), safe="")
    return f"{scheme}://{user}:{password}@{place}/{database}" + (f"?{urlencode(options, safe='/')}" if options else "")


def _member(reference: SplitResult, text: str) -> str:
    members = _members(reference.path, text)
    if reference.fragment not in members:
        raise SecretError(f"the secret {reference.path} holds no {reference.fragment}")
    return str(members[reference.fragment])


def _members(secret: str, text: str) -> dict[str, Any]:
    try:
        members = json.loads(text)
    except ValueError:
        members = None  # the error itself would quote the secret
    if not isinstance(members, dict):
        raise SecretError(f"the secret {secret} is no JSON object")
    return members


def _read(secret: str, anew: bool) -> str:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as streaming.edges.aws says

    if anew or secret not in _known:
        try:
            answer = client("secretsmanager", read_seconds=_READ_SECONDS, attempts=_ATTEMPTS).get_secret_value(
                SecretId=secret
            )
            _known[secret] = answer["SecretString"]
        except (BotoCoreError, ClientError, KeyError) as error:
            raise SecretError(f"the secret {secret} cannot be read: {error}") from error
    return _known[secret]
