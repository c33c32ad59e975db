"""Requests that tests of failures send to probe a server."""

import httpx2

from tests.support.http.client import ApiClient

GENRES_QUERY = "{ genres { id } }"
LOCK_GENRES = "LOCK TABLE genres IN ACCESS EXCLUSIVE MODE"
INCREMENT_STOCK = """mutation ($id: ID!) { updateStock(input: {bookId: $id, change: {adjustBy: 1}}) { __typename } }"""
UNAVAILABLE = {"code": "SERVICE_UNAVAILABLE", "retryAfter": 2}
"""`extensions` of the error while the database is unavailable."""


async def post_graphql(client: ApiClient, document: str, **variables: object) -> httpx2.Response:
    """Send a document and return the HTTP response."""
    async with client.http() as http:
        return await http.post("/graphql", json={"query": document, "variables": variables})


async def get_status(client: ApiClient, path: str) -> int:
    """Return the status code of a GET."""
    async with client.http() as http:
        return (await http.get(path)).status_code
