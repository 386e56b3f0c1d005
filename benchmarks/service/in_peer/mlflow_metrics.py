"""Logs a history of one metric and reads it: `mlflow_metrics.py URL POINTS SAMPLE`. Prints JSON."""

import json
import random
import statistics
import sys
import time

import requests
from mlflow import MlflowClient
from mlflow.entities import Metric

url, points, sample = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = MlflowClient(url)
run = client.create_run(client.create_experiment("bench")).info.run_id
seconds = 0.0
for start in range(0, points, 1000):
    batch = [Metric("loss", random.random(), 1_700_000_000_000 + step, step) for step in range(start, start + 1000)]
    began = time.perf_counter()
    client.log_batch(run, metrics=batch, synchronous=True)
    seconds += time.perf_counter() - began
reads = []
for _ in range(5):
    began = time.perf_counter()
    answer = requests.get(
        f"{url}/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval",
        params={"run_ids": run, "metric_key": "loss", "max_results": sample},
        timeout=60,
    )
    answer.raise_for_status()
    reads.append(time.perf_counter() - began)
    assert len(answer.json()["metrics"]) >= sample / 2
began = time.perf_counter()
history = client.get_metric_history(run, "loss")
whole = time.perf_counter() - began
assert len(history) == points
print(
    json.dumps(
        {"points_per_second": points / seconds, "sample_seconds": statistics.median(reads), "history_seconds": whole}
    )
)
