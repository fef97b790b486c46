import json

import pybase64
import pytest

from resources.aws.s3.slices import read_error

ROW = (
    b'{"record_id":"01a206f6b36f69a15e67b22bcb510000","arrival_timestamp":"2026-11-23T04:15:09.400000Z","user_id":"20"}'
)


@pytest.mark.parametrize("spelling", ["lastErrorCode", "ErrorCode"])
def test_what_format_conversion_refused_is_read_however_firehose_spells_it(spelling: str) -> None:
    # given
    told = {
        "attemptsMade": 1,
        "arrivalTimestamp": 1795407309417,
        spelling: "DataFormatConversion.ParseError",
        spelling.replace("Code", "Message"): "no such type",
        "rawData": pybase64.b64encode_as_string(ROW),
        "subSequenceNumber": 0,
    }
    # when
    line = json.loads(read_error(json.dumps(told).encode()).text)
    # then
    assert (line["errorCode"], line["errorMessage"]) == ("DataFormatConversion.ParseError", "no such type")
    assert b'"record_id":"01a206f6b36f69a15e67b22bcb510000"' in pybase64.b64decode(line["rawData"])
