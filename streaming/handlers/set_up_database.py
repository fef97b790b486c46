"""Lambda `set_up_database`: makes the customers' table in Aurora, who reads it, and the trigger of sign-ups.

CloudFormation calls it as a custom resource when the stack is made or updated, and waits for the answer. Safe to
repeat; deleting the stack leaves the database as it is.
"""

from collections.abc import Mapping
from contextlib import closing
from typing import Any
from urllib.parse import unquote, urlsplit

from streaming.edges.custom_resource import answering
from streaming.edges.secrets import resolve
from streaming.edges.users_db import connect, sql_statement
from streaming.settings import SECRET_SCHEME, load_settings

__all__ = ["lambda_handler", "set_up"]

_READER = (
    "CREATE USER IF NOT EXISTS %(user)s@'%%'",
    "ALTER USER %(user)s@'%%' IDENTIFIED BY %(password)s",
    "GRANT SELECT ON customers TO %(user)s@'%%'",
)


def lambda_handler(event: Mapping[str, Any], context: object) -> None:
    """Set the database up, unless the stack is being deleted, and tell CloudFormation what came of it."""
    with answering(event):
        if event["RequestType"] != "Delete":
            wanted = event["ResourceProperties"]
            reader = resolve(f"{SECRET_SCHEME}:{wanted['Reader']}", "mysql", anew=True)
            set_up(load_settings().mysql_url, reader, wanted["SignUpFunction"], demo=wanted["DemoCustomers"] == "true")


def set_up(mysql_url: str, reader_url: str, sign_up_function: str, *, demo: bool) -> None:
    """Make the table, its reader and the trigger.

    Args:
        mysql_url: of the administrator.
        reader_url: of the user whom functions, connectors and Dagster come as, who may read customers and no more.
        sign_up_function: ARN of the Lambda that the trigger calls with `{"user_id": "20"}`.
        demo: whether an empty table gets the demo customers.
    """
    with closing(connect(mysql_url)) as connection, connection.cursor() as cursor:
        cursor.execute(sql_statement("schema"))
        if demo:
            cursor.execute(sql_statement("seed"))
            connection.commit()  # before there is a trigger: demo customers sign up for nothing
        reader = urlsplit(reader_url)
        login = {"user": unquote(reader.username or ""), "password": unquote(reader.password or "")}
        for statement in _READER:
            cursor.execute(statement, login)
        cursor.execute("GRANT AWS_LAMBDA_ACCESS TO CURRENT_USER()")
        cursor.execute(sql_statement("sign_up_role"))
        cursor.execute("DROP TRIGGER IF EXISTS customer_signs_up")
        cursor.execute(sql_statement("sign_up_trigger"), {"function": sign_up_function})
