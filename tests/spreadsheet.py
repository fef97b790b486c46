"""What a spreadsheet makes of a CSV file that somebody opens."""

import csv
import io
import re

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?")


def formulas(text: str) -> list[str]:
    """The cells that it would compute, however it cuts lines into cells; white space before them does not count."""
    lines = [row for cut in "|,;\t" for row in csv.reader(io.StringIO(text, newline=""), delimiter=cut)]
    cells = [cell.strip() for line in lines for cell in line]
    return [cell for cell in cells if cell.startswith(tuple("=+-@＝＋－＠")) and not _NUMBER.fullmatch(cell)]
