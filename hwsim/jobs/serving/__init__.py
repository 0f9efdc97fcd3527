"""Serving under load: requests that arrive over time, the schedulers of real engines, their KV pool, step times."""
