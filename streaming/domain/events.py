"""The event and its enriched row, as typed values."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

EventName = Literal["Search", "ViewContent", "AddToCart", "Purchase"]
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class AdditionalData(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Details of the action: seconds, percent (0 to 100), the product and its price."""

    time_on_data: int | None = None
    percent_viewed: float | None = None
    product_id: int | None = None
    price: Decimal | None = None


class Event(msgspec.Struct, gc=False):
    """One event that keeps the contract, normalised: times are UTC, the price has two decimals."""

    timestamp: datetime
    user_id: str
    pixel_id: str
    click_id: str
    event_name: EventName
    insertion_timestamp: datetime | None
    user_ip: str | None
    additional_data: AdditionalData
    extra: str | None


class EventColumns(msgspec.Struct, gc=False):
    """The columns of `enriched_landing` that the record itself gives, in the table's order; `extra` is the last one."""

    record_id: str
    arrival_timestamp: datetime
    timestamp: datetime
    user_id: str
    pixel_id: str
    click_id: str
    insertion_timestamp: datetime | None
    event_name: EventName
    user_ip: str | None
    additional_data: AdditionalData


class LookUpColumns(msgspec.Struct, gc=False):
    """The columns of `enriched_landing` that look-ups give, in the table's order; they follow EventColumns."""

    name: str | None
    country: str | None
    region: str | None
    city: str | None
    latitude: float | None
    longitude: float | None
    missing_reasons: str | None
    enrichment_version: str
