"""A careful script on MlflowClient: read all active runs, name the stale ones.

read_client.py URI RUNS_A_PAGE
"""

from __future__ import annotations

import sys
import time

import mlflow
from mlflow.tracking import MlflowClient

uri, page_size = sys.argv[1], int(sys.argv[2])
mlflow.set_tracking_uri(uri)
client = MlflowClient()
cutoff = int(time.time() * 1000) - 30 * 86_400_000
experiments, token = [], None
while True:
    page = client.search_experiments(max_results=1000, page_token=token)
    experiments += [e.experiment_id for e in page]
    token = page.token
    if not token:
        break
stale, seen = [], 0
for start in range(0, len(experiments), 1000):
    token = None
    while True:
        runs = client.search_runs(
            experiments[start : start + 1000], max_results=page_size, page_token=token
        )
        seen += len(runs)
        stale += [
            r.info.run_id
            for r in runs
            if r.info.status != "RUNNING"
            and max([r.info.end_time or 0, r.info.start_time]) < cutoff
        ]
        token = runs.token
        if not token:
            break
print(seen, len(stale))
