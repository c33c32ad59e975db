"""Rate limits and throttles, as stored counters."""
