"""The page where it is published, and what stands in it; for readers that need not know how it is made."""

import re

PAGE = "dashboard/dashboard.html"  # in the lake
_POLICY = re.compile(rb'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')
_DATA = re.compile(rb'<script id="data" type="application/gzip">([^<]*)</script>')


def packed_data(page: bytes) -> bytes:
    """The data that a page holds, as `data.encode` made them."""
    return _first(_DATA, page)


def content_policy(page: bytes) -> str:
    """The Content-Security-Policy that a page states."""
    return _first(_POLICY, page).decode()


def _first(pattern: re.Pattern[bytes], page: bytes) -> bytes:
    found = pattern.search(page)
    if found is None:
        raise ValueError("this is no page of the dashboard")
    return found[1]
