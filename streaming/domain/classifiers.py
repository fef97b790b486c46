"""Classifiers: what recognises a line of JSON and says where its record lies, as custom classifiers of Glue do.

They are asked in order, and the first that recognises a line wins. Name and JsonPath are all that Glue knows of one;
the keys are what tells a line of ours from any other that happens to have something at the path.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streaming.domain.tables import RAW_EVENTS, Table


@dataclass(frozen=True)
class Classifier:
    """Recognises a JSON object that has all `keys`, and something other than null at `json_path`: `$` or `$.member`."""

    name: str
    json_path: str
    keys: frozenset[str] = frozenset()

    @property
    def member(self) -> str:
        """The member that the record lies in; empty where the line is the record."""
        return self.json_path.removeprefix("$").removeprefix(".")

    def recognises(self, line: Any) -> bool:
        """Whether a decoded line is of this kind."""
        if not isinstance(line, dict) or not self.keys <= line.keys():
            return False
        return not self.member or line.get(self.member) is not None


_ENVELOPE = frozenset({"record_id", "arrival_timestamp", "client_ip"})

ENVELOPED_EVENT = Classifier("enveloped_event", "$.event", _ENVELOPE)
ENVELOPED_BYTES = Classifier("enveloped_bytes", "$.event_base64", _ENVELOPE)
PLAIN_JSON = Classifier("json", "$")

# A bare object would be JSON too, but raw holds envelopes alone: there, what no custom classifier knows is foreign.
CUSTOM_CLASSIFIERS = {RAW_EVENTS.name: (ENVELOPED_EVENT, ENVELOPED_BYTES)}


def classifiers_of(table: Table) -> Sequence[Classifier]:
    """The classifiers that a table's lines are shown to, in order."""
    return CUSTOM_CLASSIFIERS.get(table.name, (PLAIN_JSON,))


def classify(line: Any, classifiers: Sequence[Classifier]) -> Classifier | None:
    """The first of the classifiers that recognises a decoded line; None where none does."""
    return next((classifier for classifier in classifiers if classifier.recognises(line)), None)
