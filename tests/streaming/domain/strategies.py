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

_good_time = st.datetimes().map(str) | st.datetimes().map(lambda moment: moment.isoformat() + "Z")
_odd_time = st.datetimes().map(lambda moment: moment.isoformat() + "+02:00") | st.sampled_from(
    ["2021-13-01 00:00:00", "2021-07-12", "", "9999-12-31T23:59:59-23:00"]
)
_odd_number = st.sampled_from([2**53, 2**64, 2**70, -1, -0.0, 79.0, 0.005, 1e15, 101]) | st.floats()
_anything = st.one_of(st.none(), st.booleans(), _odd_number, st.text(max_size=5), st.just({}), st.just([1]), _odd_time)

_details = st.fixed_dictionaries(
    {},
    optional={
        "time_on_data": st.integers(0, 2**53 - 1),
        "percent_viewed": st.floats(0, 100),
        "product_id": st.integers(0, 2**53 - 1),
        "price": st.integers(0, 10**15) | st.decimals(0, 1000, places=2).map(float) | st.floats(0, 1e15),
    },
)
_identifier = st.text("abc123-äß \U0001f600", min_size=1, max_size=12)
_good = st.fixed_dictionaries(
    {
        "timestamp": _good_time,
        "user_id": _identifier,
        "pixel_id": _identifier,
        "click_id": _identifier,
        "event_name": st.sampled_from(["Search", "ViewContent", "AddToCart", "Purchase"]),
    },
    optional={
        "insertion_timestamp": _good_time,
        "user_ip": _identifier,
        "additional_data": _details,
    },
)
_keys = st.sampled_from([*ARTICLE_EVENT, "name", "extra"])
_detail_keys = st.sampled_from([*ARTICLE_EVENT["additional_data"], "note"])


@st.composite
def event_texts(draw: st.DrawFn) -> bytes:
    """JSON texts around the contract: good ones, and ones with a value, a key or a detail that is not."""
    members = draw(_good)
    mutation = draw(st.sampled_from(["none", "none", "member", "detail", "twice"]))
    if mutation == "member":
        members[draw(_keys)] = draw(_anything)
    elif mutation == "detail":
        members["additional_data"] = members.get("additional_data", {}) | {draw(_detail_keys): draw(_anything)}
    text = json.dumps(members, ensure_ascii=draw(st.booleans()))
    if mutation == "twice":
        key = draw(st.sampled_from(list(members)))
        text = text[:-1] + f", {json.dumps(key)}: {json.dumps(members[key])}}}"
    return text.encode("utf-8", "surrogatepass")
