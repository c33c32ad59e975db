"""The shop on several machines, played on this one: what breaks, what it costs, and that no order is lost (`just cluster`)."""
