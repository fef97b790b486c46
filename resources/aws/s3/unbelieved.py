"""Records whose stamps were too far from the moment when Kinesis took them: they failed, and go by another identity.

The raw copy has them among the others and does not tell that moment; the error files do.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from threading import Lock

from resources.aws.s3.landing import Landing, hours_between, is_of_one_hour, span_of
from resources.aws.s3.listing import Object
from resources.aws.s3.slices import Unbelieved
from streaming.domain.layout import failed_prefix
from streaming.jobs.work import RawCopy

FAILED_ENRICHMENT = failed_prefix("enrichment")


class UnbelievedStamps:
    """Unbelieved records by the error files of a listing; `read` finds those of one file."""

    def __init__(self, landing: Landing, read: Callable[[Object], Sequence[Unbelieved]]) -> None:
        self._landing = landing
        self._read = read
        self._during = cache(self._find)
        self._alone = Lock()  # many threads fetch the files of an hour, and ask for the same

    def raw_copy(self, found: Object) -> RawCopy:
        """What is known of a file of the raw copy."""
        begun, ended = span_of(found)
        arrivals: dict[str, set[datetime]] = {}
        with self._alone:
            for record_id, arrival in (each for hour in hours_between(begun, ended) for each in self._during(hour)):
                if begun <= arrival <= ended:
                    arrivals.setdefault(record_id, set()).add(arrival)
        return RawCopy(begun, ended, {record_id: sorted(some) for record_id, some in sorted(arrivals.items())})

    def _find(self, hour: datetime) -> list[Unbelieved]:
        files = self._landing.objects(FAILED_ENRICHMENT, hour)
        return [each for file in files if not is_of_one_hour(file.name) for each in self._read(file)]
