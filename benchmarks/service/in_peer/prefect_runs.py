"""Creates flow runs one after the other: `prefect_runs.py URL COUNT`. Prints {"seconds": [...], "list_seconds": s}."""

import json
import os
import sys
import time

url, count = sys.argv[1], int(sys.argv[2])
os.environ["PREFECT_API_URL"] = f"{url}/api"

from prefect import flow  # it reads the address when it is imported
from prefect.client.orchestration import get_client
from prefect.states import Scheduled


@flow
def nothing() -> None:
    pass


with get_client(sync_client=True) as client:
    for _ in range(10):
        client.create_flow_run(nothing, state=Scheduled())
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        client.create_flow_run(nothing, state=Scheduled())
        seconds.append(time.perf_counter() - began)
    listing = []
    for _ in range(20):
        began = time.perf_counter()
        client.read_flow_runs(limit=50)
        listing.append(time.perf_counter() - began)
print(json.dumps({"seconds": seconds, "list_seconds": listing}))
