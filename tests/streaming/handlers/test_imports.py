import subprocess
import sys

import pytest

from streaming.settings import ROOT

NEVER_NEEDED = {"boto3", "dagster", "pandas", "pyarrow", "resources", "clickstream_assets", "commands"}


@pytest.mark.parametrize("handler", ["enrichment", "last_access", "data_update", "high_intent"])
def test_a_handler_needs_nothing_of_the_batch_side(handler: str) -> None:
    program = f"import sys, streaming.handlers.{handler}; print('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert not loaded & NEVER_NEEDED
