"""Fuzzing of what reads events. `python -m tests.faults.fuzz --seconds 600` lets coverage guide it, and runs long."""
