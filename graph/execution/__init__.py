"""One request, from text to response: documents, limits, cost, deadline, cache control."""
