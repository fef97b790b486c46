"""Clients of what stands outside: Redis, MySQL, geolocation, the event stream and the lake."""
