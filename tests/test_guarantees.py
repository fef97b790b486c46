"""The pages that make promises name tests that exist."""

import re

from streaming.settings import ROOT

_NAMED = re.compile(r"`(test_\w+)`")
_DEFINED = re.compile(r"def (test_\w+)\(")


def test_every_test_that_the_guarantees_and_the_doors_name_exists() -> None:
    named = {
        name for page in ("guarantees", "security") for name in _NAMED.findall((ROOT / f"docs/{page}.md").read_text())
    }
    defined = {name for file in ROOT.glob("tests/**/test_*.py") for name in _DEFINED.findall(file.read_text())}
    assert len(named) > 20
    assert named - defined == set()
