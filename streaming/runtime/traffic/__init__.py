"""Synthetic traffic: a shop's events, good and bad, sent to the collector by a client like any other."""

from streaming.runtime.traffic.options import SendOptions, SendResult
from streaming.runtime.traffic.sender import Answer, CollectorUnreachable, send

__all__ = ["Answer", "CollectorUnreachable", "SendOptions", "SendResult", "send"]
