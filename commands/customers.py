"""`./run customers`: list customers, and add one as the shop's sign-up does."""

from decimal import Decimal
from uuid import uuid4

import click
import pymysql
import redis
from rich.console import Console
from rich.table import Table

from streaming.edges.users_db import UsersDb
from streaming.handlers.data_update import lambda_handler
from streaming.settings import Settings, load_settings


@click.group()
def customers() -> None:
    """List customers, and add one as a sign-up does."""


@customers.command()
@click.option("--name", required=True, help="Full name.")
@click.option("--pixel", help="Pixel the customer signed up through; a new one by default.")
@click.option("--price-per-click", type=click.FloatRange(min=0), default=0, show_default=True)
@click.option("--id", "customer_id", type=click.IntRange(min=1), help="The customer's id; the next one by default.")
def add(name: str, pixel: str | None, price_per_click: float, customer_id: int | None) -> None:
    """Write a customer to MySQL, and have data_update carry the name to the cache."""
    if not name.strip():
        raise click.BadParameter("a customer has a name", param_hint="--name")
    users_db = UsersDb(_running_system().mysql_url)
    try:
        added = users_db.add_customer(name, pixel or uuid4().hex[:10], Decimal(str(price_per_click)), customer_id)
    except pymysql.IntegrityError:
        raise click.ClickException(f"there is a customer {customer_id} already") from None
    except pymysql.MySQLError as error:
        raise click.ClickException(f"MySQL: {error}") from error
    try:
        lambda_handler({"user_id": str(added)}, None)
    except redis.RedisError as error:
        raise click.ClickException(f"customer {added} is added; the next refresh brings the name: {error}") from error
    click.echo(f"customer {added}: {name}")


@customers.command(name="list")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
def list_(limit: int) -> None:
    """Print the customers that changed last, newest first."""
    try:
        newest = UsersDb(_running_system().mysql_url).newest_customers(limit)
    except pymysql.MySQLError as error:
        raise click.ClickException(f"MySQL: {error}") from error
    table = Table("customer_id", "pixel_id", "name", "price_per_click", "updated_at", box=None)
    for customer in newest:
        table.add_row(
            str(customer.customer_id),
            customer.pixel_id,
            customer.name,
            str(customer.price_per_click),
            f"{customer.updated_at:%Y-%m-%d %H:%M:%S}",
        )
    Console().print(table)


def _running_system() -> Settings:
    settings = load_settings()
    if not settings.mysql_url or not settings.cache_redis_url:
        if settings.deployment == "aws":
            raise click.ClickException(
                "CLICKSTREAM_DEPLOYMENT is aws, which needs MYSQL_URL and CACHE_REDIS_URL as ./run deploy printed them"
            )
        raise click.ClickException("nothing runs here; start the system with ./run up")
    return settings
