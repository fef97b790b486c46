"""What Aurora MySQL has and MariaDB has not, as far as a trigger needs it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from streaming.edges.users_db import connect

_MADE = (
    "DROP TABLE customers",
    "CREATE TABLE calls (id INT AUTO_INCREMENT PRIMARY KEY, called TEXT, payload TEXT)",
    "CREATE FUNCTION lambda_async(called TEXT, payload TEXT) RETURNS TEXT "
    "BEGIN INSERT INTO calls (called, payload) VALUES (called, payload); RETURN 'queued'; END",
    "CREATE ROLE IF NOT EXISTS AWS_LAMBDA_ACCESS",
)


@contextmanager
def as_aurora(mysql_url: str) -> Iterator[str]:
    """A database without customers, and with Aurora's function and role; calls of the function are rows of `calls`."""
    with closing(connect(mysql_url)) as connection, connection.cursor() as cursor:
        for statement in _MADE:
            cursor.execute(statement)
        yield mysql_url
        cursor.execute("SET DEFAULT ROLE NONE")
        cursor.execute("DROP ROLE AWS_LAMBDA_ACCESS")
