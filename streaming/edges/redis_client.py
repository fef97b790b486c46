"""Clients of Redis, at a URL or where a secret says; `rediss://` is TLS, which verifies the server's certificate.

`?ssl_ca_certs=FILE` names the certificate authority where it is none that the system knows.
"""

from contextlib import suppress
from typing import Any

from redis import AuthenticationError, Connection, ConnectionPool, Redis
from redis import ConnectionError as RedisConnectionError
from redis.connection import ConnectionInterface, parse_url

from streaming.edges.secrets import SecretError, is_reference, resolve

__all__ = ["redis_client"]


def redis_client(url: str, **options: Any) -> Redis:
    """A client with redis-py's options; it connects on its first call."""
    if is_reference(url):
        return Redis.from_pool(_SecretPool(url, **options))
    return Redis.from_url(url, **options)


class _SecretPool(ConnectionPool):
    """Connections to where a secret says: read before the first one, and anew when the server refuses the password."""

    def __init__(self, reference: str, **options: Any) -> None:
        super().__init__(**options)
        self._reference = reference
        # To load boto3 and ask takes longer than a batch may wait. What fails now is asked for with the connection.
        with suppress(SecretError):
            resolve(reference, "rediss")

    def make_connection(self) -> ConnectionInterface:
        self._aim()
        return super().make_connection()

    def get_connection(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().get_connection(*arguments, **options)
        except AuthenticationError:
            self._aim(anew=True)
            self.reset()
            return super().get_connection(*arguments, **options)

    def _aim(self, *, anew: bool = False) -> None:
        try:
            place = parse_url(resolve(self._reference, "rediss", anew=anew))  # type: ignore[no-untyped-call]
        except SecretError as error:
            raise RedisConnectionError(str(error)) from error
        self.connection_class = place.pop("connection_class", Connection)
        self.connection_kwargs |= place
