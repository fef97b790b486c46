"""What the parts of a deployment on AWS are called: all names follow from that of the CloudFormation stack."""

from typing import NamedTuple

# The namespace in CloudWatch of what the platform measures itself.
METRICS = "Clickstream"
# The database of Redshift Serverless, and the schema in it that shows the lake's database in the Glue Data Catalog.
REDSHIFT_DATABASE = "clickstream"
REDSHIFT_SCHEMA = "lake"


class Stack(NamedTuple):
    """A deployment on AWS. The template in `infra/` gives its resources the same names."""

    name: str

    def part(self, role: str) -> str:
        """A resource named by its role: stream `clickstream-events`, Glue job `clickstream-flatten`."""
        return f"{self.name}-{role}"

    @property
    def database(self) -> str:
        """The lake's database in the Glue Data Catalog; also its schema in Redshift."""
        return self.name.replace("-", "_")
