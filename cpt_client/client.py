"""The Python client of the API, synchronous and asynchronous.

with Client() as client:
    job = client.submit(spec)
    for event in client.stream(job.id):
        ...
    print(client.get(job.id).result)

async with AsyncClient() as client:
    job = await client.submit(spec)
    async for event in client.stream(job.id):
        ...
"""

from cpt_client.aio.client import AsyncClient
from cpt_client.connection import DEFAULT_URL
from cpt_client.sync.client import Client

__all__ = ["DEFAULT_URL", "AsyncClient", "Client"]
