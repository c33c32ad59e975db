"""The catalog's read queries: lists, search, facets and projections."""
