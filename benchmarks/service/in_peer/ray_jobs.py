"""Submits `true` as a Ray job: `ray_jobs.py URL SINGLE MANY`. Prints {"single": [seconds], "many": seconds}."""

import json
import sys
import time

from ray.job_submission import JobSubmissionClient

url, single, many = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = JobSubmissionClient(url)


def submit() -> str:
    return client.submit_job(entrypoint="true", entrypoint_num_cpus=1)


def wait(jobs: list[str]) -> None:
    waiting = set(jobs)
    while waiting:
        waiting = {job for job in waiting if not client.get_job_status(job).is_terminal()}
        time.sleep(0.01)


wait([submit()])
seconds = []
for _ in range(single):
    began = time.perf_counter()
    wait([submit()])
    seconds.append(time.perf_counter() - began)
began = time.perf_counter()
wait([submit() for _ in range(many)])
print(json.dumps({"single": seconds, "many": time.perf_counter() - began}))
