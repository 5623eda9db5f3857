"""A script on MlflowClient: delete runs, one after the other or in threads.

delete_client.py URI THREADS IDS_FILE
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
from mlflow.tracking import MlflowClient

uri, threads, file = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
mlflow.set_tracking_uri(uri)
client = MlflowClient()
with ThreadPoolExecutor(threads) as pool:
    list(pool.map(client.delete_run, file.read_text().split()))
