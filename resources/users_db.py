"""The shop's customers, as a resource."""

import dagster as dg

from streaming.edges.users_db import UsersDb
from streaming.settings import load_settings


class MySqlUsersDbResource(dg.ConfigurableResource[UsersDb]):
    """MySQL or MariaDB at MYSQL_URL, which holds a password and so is not configuration."""

    def create_resource(self, context: dg.InitResourceContext) -> UsersDb:
        return UsersDb(load_settings().mysql_url)
