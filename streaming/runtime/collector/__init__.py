"""The collector: the HTTP edge that judges events, stamps their envelope and puts them in the event stream.

Run as `python -m streaming.runtime.collector`. The API is declared in `infra/openapi.json`.
"""
