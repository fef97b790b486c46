"""`./run soak`: traffic under random faults, and an account of every event at the end."""

from commands.soak.command import soak

__all__ = ["soak"]
