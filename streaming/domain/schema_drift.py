"""Drift: how the schema that files have differs from the declared one.

A schema is its columns by path, with their types: `additional_data` is a STRUCT, `additional_data.price` a
DECIMAL(18,2), `touched_event_hours[].events` a BIGINT of each element.
"""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

Schema = Mapping[str, str]

_DECIMAL = re.compile(r"DECIMAL\((\d+), ?(\d+)\)")
# Types that a wider one takes without loss, from narrow to wide.
_WIDER = (("TINYINT", "SMALLINT", "INT", "BIGINT"), ("FLOAT", "DOUBLE"), ("TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP"))


class DriftKind(StrEnum):
    """What can be otherwise than declared."""

    NEW_COLUMN = "new_column"
    MISSING_COLUMN = "missing_column"
    CHANGED_TYPE = "changed_type"
    UNREADABLE = "unreadable"
    UNRECOGNISED = "unrecognised"


class Difference(NamedTuple):
    """One difference of one file; no column where it is the file's as a whole.

    An error makes an analyst's numbers wrong or incomplete, a warning does not.
    """

    kind: DriftKind
    column: str
    declared: str = ""
    found: str = ""
    is_error: bool = True


def differences(declared: Schema, found: Schema) -> Iterator[Difference]:
    """How a found schema differs from the declared one; what lies inside a column that differs is not told again."""
    told: list[str] = []
    for path, type_ in declared.items():
        if _is_inside(path, told) or found.get(path) == type_:
            continue
        told.append(path)
        if path in found:
            yield Difference(
                DriftKind.CHANGED_TYPE, path, type_, found[path], is_error=not is_lossless(found[path], type_)
            )
        else:
            yield Difference(DriftKind.MISSING_COLUMN, path, type_)
    for path, type_ in found.items():
        if path not in declared and not _is_inside(path, told):
            told.append(path)
            yield Difference(DriftKind.NEW_COLUMN, path, "", type_, is_error=False)


def is_lossless(found: str, declared: str) -> bool:
    """Whether every value of a found type is one of the declared type."""
    narrow, wide = _DECIMAL.fullmatch(found), _DECIMAL.fullmatch(declared)
    if narrow and wide:
        precision, scale, most, most_scale = map(int, (*narrow.groups(), *wide.groups()))
        return scale <= most_scale and precision - scale <= most - most_scale
    return any(
        found in family and declared in family and family.index(found) <= family.index(declared) for family in _WIDER
    )


def _is_inside(path: str, columns: list[str]) -> bool:
    return any(path.startswith((f"{column}.", f"{column}[")) for column in columns)
