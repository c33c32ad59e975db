"""The server on several machines, simulated on one: what each fault costs, and that no order is lost (`just cluster`)."""
