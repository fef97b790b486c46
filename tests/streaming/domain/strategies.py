"""Events as clients send them, and as they should not."""

import json
from typing import Any

from hypothesis import strategies as st

ARTICLE_EVENT: dict[str, Any] = {
    "timestamp": "2021-07-12 20:24:49.536462",
    "user_id": "20",
    "pixel_id": "fytil06mrm",
    "click_id": "57ae98d7ffd94dc6a47fd756ab9c1cde",
    "insertion_timestamp": "2021-07-12 20:24:49.536488",
    "event_name": "AddToCart",
    "user_ip": "169.235.214.44",
    "additional_data": {"price": 694.83, "product_id": 361482, "time_on_data": 83, "percent_viewed": 87},
}

_identifiers = st.text(min_size=1, max_size=20)
_times = st.one_of(
    st.datetimes().map(str),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.datetimes().map(lambda moment: moment.isoformat() + "+02:00"),
    st.sampled_from(["2021-13-01 00:00:00", "2021-07-12", "", "9999-12-31T23:59:59-23:00"]),
)
_numbers = st.one_of(
    st.integers(-5, 200),
    st.floats(),
    st.sampled_from([2**53, 2**64, 2**70, -0.0, 79.0, 0.005, 1e15]),
)
_anything = st.one_of(st.none(), st.booleans(), _numbers, st.text(max_size=5), st.just({}), st.just([1]))

details = st.fixed_dictionaries(
    {},
    optional={
        "time_on_data": _numbers | _anything,
        "percent_viewed": _numbers | _anything,
        "product_id": _numbers | _anything,
        "price": _numbers | _anything,
        "note": _anything,
    },
)
members = st.fixed_dictionaries(
    {
        "timestamp": _times,
        "user_id": _identifiers,
        "pixel_id": _identifiers,
        "click_id": _identifiers,
        "event_name": st.sampled_from(["Search", "ViewContent", "AddToCart", "Purchase"]),
    },
    optional={
        "insertion_timestamp": _times | _anything,
        "user_ip": _identifiers | _anything,
        "additional_data": details | _anything,
        "name": _anything,
    },
)


@st.composite
def event_texts(draw: st.DrawFn) -> bytes:
    """JSON texts around the contract: good, nearly good, with odd escapes and with keys that stand twice."""
    text = json.dumps(draw(members), ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):
        key, value = draw(st.sampled_from(["user_id", "price", "timestamp"])), draw(_anything)
        text = text[:-1] + f", {json.dumps(key)}: {json.dumps(value)}}}"
    return text.encode("utf-8", "surrogatepass")
