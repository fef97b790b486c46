"""The customers' database as a stack sets it up: CloudFormation calls the function, from its zip, on a real MariaDB."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from commands.package import build_lambda
from streaming.edges.users_db import UsersDb, connect
from tests.aurora import as_aurora
from tests.infra.emulator import Clients, deploy
from tests.infra.templates import INFRA, parse

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

OF_THE_DATABASE = ("SetUpDatabase", "SetUpDatabaseRole", "SetUpDatabaseLogs", "Customers")
PARAMETERS = {
    "StackName": "shop-dev", "RedisSecret": "", "MysqlSecret": "", "SubnetIds": "subnet-1", "KeyArn": "key",
    "FunctionSecurityGroup": "sg-1", "StoreSecurityGroup": "sg-2", "RedisNodeType": "small", "RedisNodes": "1",
    "AuroraMinCapacity": "1", "AuroraMaxCapacity": "1", "AuroraDeletionProtection": "true", "DemoCustomers": "true",
    "SourceKey": "source.zip", "LogRetentionDays": "30",
}  # fmt: skip


@pytest.fixture
def aurora_url(mysql_url: str) -> Iterator[str]:
    """An empty database, on Aurora."""
    with as_aurora(mysql_url) as url:
        yield url


def test_the_stack_makes_the_table_and_the_trigger(session: Clients, aurora_url: str, tmp_path: Path) -> None:
    # given
    session("s3").create_bucket(Bucket="code")
    zipped = build_lambda("set-up-database", tmp_path).file
    session("s3").upload_file(str(zipped), "code", zipped.name)
    template = parse((INFRA / "stores.yaml").read_text())
    template["Resources"] = {name: template["Resources"][name] for name in OF_THE_DATABASE}
    template["Resources"]["Customers"]["DependsOn"] = []
    reader_url = aurora_url.replace("//root@", "//reader:secret@")
    for name, url in {"MysqlAdministrator": aurora_url, "MysqlLogin": reader_url}.items():
        template["Resources"][name] = {
            "Type": "AWS::SecretsManager::Secret",
            "Properties": {"Name": f"shop-dev-{name}", "SecretString": url},
        }
    template["Outputs"] = {}
    # when
    deploy(session, "stores", json.dumps(template).replace("../.build/", "s3://code/"), PARAMETERS)
    # then
    customers = UsersDb(aurora_url)
    assert UsersDb(reader_url).names(["20"]) == {"20": "Semyon Ryan"}
    user_id = customers.add_customer("Ada Lovelace", "pixel")
    with closing(connect(aurora_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT called, JSON_VALUE(payload, '$.user_id') FROM calls")
        assert cursor.fetchall() == (
            ("arn:aws:lambda:us-east-1:000000000000:function:shop-dev-data-update", str(user_id)),
        )
