"""Statements of `sql/` in Redshift's dialect: parameters bound, tables of the lake by partition, wrapped in UNLOAD.

The Data API has no parameters inside the SELECT that UNLOAD quotes, so they become literals: of moments, days and whole
numbers alone, which can hold no SQL. Names come from the declared schema, places from the lake.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

import sqlglot
from sqlglot import ErrorLevel, TokenType, exp
from sqlglot.dialects.redshift import Redshift

from resources.warehouse import Source, Sources, quoted, sql_file
from streaming.domain.layout import HOUR
from streaming.domain.stack import REDSHIFT_SCHEMA
from streaming.domain.tables import FLATTENED_EVENTS, Table

MOST_BYTES = 100_000

_PREFIX = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/(?:[A-Za-z0-9_=.+-]+/)+")
_DAY = exp.Literal.number(86_400_000_000)
# As `warehouse.FORMULA`, after a `,` put in front, which a begin of text is as good as. No backslash, which the literal
# in UNLOAD may read once more, and characters of several bytes as alternatives: POSIX brackets may take single bytes.
_SEPARATORS = """,;|"\t\r\n"""
_FORMULA = f"""([{_SEPARATORS}] *)([=+@'-]|＝|＋|－|＠)"""


class RedshiftWithoutBackslashes(Redshift):
    """Redshift's dialect with quotes in literals doubled, as standard SQL has it and Redshift takes it as well."""

    class Tokenizer(Redshift.Tokenizer):
        STRING_ESCAPES = ["'"]  # noqa: RUF012  as sqlglot declares it


def bind(statement: str, parameters: Sequence[Any]) -> str:
    """A statement with its `?`, in their order, replaced by literals.

    Raises:
        TypeError: a parameter is no moment, day or whole number.
        ValueError: there are more or fewer parameters than `?`.
    """
    places = [
        token for token in sqlglot.tokenize(statement, read="duckdb") if token.token_type is TokenType.PLACEHOLDER
    ]
    for place, value in reversed(list(zip(places, parameters, strict=True))):
        statement = f"{statement[: place.start]}{_literal(value)}{statement[place.end + 1 :]}"
    return statement


def answer(statement: str, parameters: Sequence[Any], sources: Sources, table: Table) -> str:
    """A SELECT of `sql/` as Redshift runs it over the lake: the table's columns, text without formulas.

    Raises:
        ValueError: it selects other columns than the table's, or asks for a part of an interval other than days.
        sqlglot.errors.SqlglotError: it is not SQL, or Redshift has no way to say it.
    """
    select = _over_lake(statement, parameters, sources)
    if not isinstance(select, exp.Select) or tuple(select.named_selects) != table.column_names:
        raise ValueError(f"the statement of {table.name} selects other columns than {', '.join(table.column_names)}")
    for interval in list(select.find_all(exp.Extract)):
        _count_days(interval)
    for column, expression in zip(table.columns, list(select.selects), strict=True):
        if column.type == "VARCHAR":
            expression.replace(exp.alias_(_without_formulas(expression.unalias()), column.name))
    return select.sql(
        RedshiftWithoutBackslashes, identify=True, comments=False, pretty=True, unsupported_level=ErrorLevel.RAISE
    )


def rows_astray(source: Source, hour: datetime) -> str:
    """A SELECT of how many rows of an hour's partition of flattened events are not of that hour."""
    hour_alone = {FLATTENED_EVENTS.name: source._replace(partitions=(hour, hour))}
    select = _over_lake(sql_file("spectrum/rows_astray"), [hour, hour + HOUR], hour_alone)
    return select.sql(RedshiftWithoutBackslashes, comments=False)


def unload(select: str, prefix: str) -> str:
    """UNLOAD as in the article, to a prefix that holds nothing yet: nothing is overwritten, and nothing stale stays.

    Raises:
        ValueError: the prefix is no folder of a bucket, or the SELECT holds a backslash.
    """
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"{prefix!r} is no folder of a bucket")
    if "\\" in select:
        raise ValueError("UNLOAD's literal may read a backslash in another way than the SELECT in it")
    return f"""UNLOAD ({quoted(select)})
TO {quoted(prefix)}
IAM_ROLE default
CSV
DELIMITER AS '|'
HEADER
PARALLEL OFF
ENCRYPTED AUTO
MANIFEST VERBOSE"""


def neutralised(text: str) -> str:
    """What Redshift makes of a text column, as an expression on a string literal; `=1` becomes `'=1`."""
    return _without_formulas(exp.Literal.string(text)).sql(RedshiftWithoutBackslashes)


def _over_lake(statement: str, parameters: Sequence[Any], sources: Sources) -> exp.Expr:
    select = sqlglot.parse_one(bind(statement, parameters), read="duckdb")
    for found in list(select.find_all(exp.Table)):
        if found.name in sources and not found.db:
            _read_partitions(found, sources[found.name])
    return select


def _literal(value: object) -> str:
    if type(value) is datetime:
        naive = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return f"TIMESTAMP '{naive.isoformat(' ')}'"
    if type(value) is date:
        return f"DATE '{value.isoformat()}'"
    if type(value) is int:
        return str(value)
    raise TypeError(f"a statement's parameters are moments, days and whole numbers, not {type(value).__name__}")


def _read_partitions(found: exp.Table, source: Source) -> None:
    """Have a table of a statement be the lake's, of the partitions of its source and no others."""
    alias = found.alias_or_name
    found.set("db", exp.to_identifier(REDSHIFT_SCHEMA))
    if source.table is not None and source.table.partition is None:
        return
    condition = exp.and_(*_conditions(source, alias))
    match found.parent:
        case exp.Join(args={"on": exp.Expr() as on}) as join:
            join.set("on", exp.and_(on, condition))
        case _:
            found.find_ancestor(exp.Select).where(condition, copy=False)  # type: ignore[union-attr]  # it is in one


def _conditions(source: Source, alias: str) -> Iterator[exp.Expr]:
    """A condition for each column of the partition that tells partitions apart, so that Spectrum leaves files alone."""
    if source.partitions is None:
        if source.files:
            raise ValueError(f"nothing says which partitions the files behind {alias} are of")
        yield exp.false()
        return
    first, last = source.partitions
    if not isinstance(first, datetime):
        yield exp.column("date", alias).between(_day(first), _day(last))
        return
    hours = [first + number * HOUR for number in range((last - first) // HOUR + 1)]
    for name in ("year", "month", "day", "hour"):
        yield _is_one_of(exp.column(name, alias), sorted({getattr(hour, name) for hour in hours}))


def _day(day: date) -> exp.Cast:
    return exp.cast(exp.Literal.string(day.isoformat()), "DATE")


def _is_one_of(column: exp.Column, values: Sequence[int]) -> exp.Expr:
    has_gaps = values[-1] - values[0] >= len(values)
    return column.isin(*values) if has_gaps else column.between(values[0], values[-1])


def _count_days(extract: exp.Extract) -> None:
    """Have `EXTRACT(DAY FROM a - b)` be whole days by DATEDIFF: what a difference is has no documented parts."""
    match extract:
        case exp.Extract(this=exp.Var(name="DAY"), expression=exp.Sub(left=later, right=earlier)):
            elapsed = exp.DateDiff(this=later, expression=earlier, unit=exp.var("MICROSECOND"))
            extract.replace(exp.paren(exp.Div(this=elapsed, expression=_DAY.copy(), typed=True)))
        case exp.Extract(expression=exp.Sub()):
            raise ValueError(f"between moments Redshift is asked for days alone, not for {extract.name}")


def _without_formulas(text: exp.Expr) -> exp.Expr:
    fenced = exp.DPipe(this=exp.Literal.string(","), expression=text.copy())
    pattern, replacement = exp.Literal.string(_FORMULA), exp.Literal.string("$1'$2")
    return exp.func(
        "SUBSTRING",
        exp.Anonymous(this="REGEXP_REPLACE", expressions=[fenced, pattern, replacement]),
        exp.Literal.number(2),
    )
