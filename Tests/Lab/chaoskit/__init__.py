"""Faults on real processes for a bounded time, and the judgement afterwards."""
