"""Lambda `set_up_database`: makes the customers' table in Aurora, and the trigger that tells of sign-ups.

CloudFormation calls it as a custom resource when the stack is made or updated, and waits for the answer. Safe to
repeat; deleting the stack leaves the database as it is.
"""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from streaming.edges.custom_resource import answering
from streaming.edges.users_db import connect
from streaming.settings import ROOT, load_settings

__all__ = ["lambda_handler", "set_up"]


def lambda_handler(event: Mapping[str, Any], context: object) -> None:
    """Set the database up, unless the stack is being deleted, and tell CloudFormation what came of it."""
    with answering(event):
        if event["RequestType"] != "Delete":
            wanted = event["ResourceProperties"]
            set_up(load_settings().mysql_url, wanted["SignUpFunction"], demo=wanted["DemoCustomers"] == "true")


def set_up(mysql_url: str, sign_up_function: str, *, demo: bool) -> None:
    """Make the table and the trigger.

    Args:
        sign_up_function: ARN of the Lambda that the trigger calls with `{"user_id": "20"}`.
        demo: whether an empty table gets the demo customers.
    """
    with closing(connect(mysql_url)) as connection, connection.cursor() as cursor:
        cursor.execute(_statement("schema"))
        if demo:
            cursor.execute(_statement("seed"))
            connection.commit()  # before there is a trigger: demo customers sign up for nothing
        cursor.execute("GRANT AWS_LAMBDA_ACCESS TO CURRENT_USER()")
        cursor.execute("DROP TRIGGER IF EXISTS customer_signs_up")
        cursor.execute(_statement("sign_up_trigger"), {"function": sign_up_function})


def _statement(name: str) -> str:
    return (ROOT / "sql" / "mysql" / f"{name}.sql").read_text()
