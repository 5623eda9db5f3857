"""A load generator: post deletes as fast as the server takes them, and nothing else.

delete_posts.py URI THREADS IDS_FILE
"""

from __future__ import annotations

import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from queue import SimpleQueue
from urllib.parse import urlsplit

uri, threads, file = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
ids: SimpleQueue[str | None] = SimpleQueue()
for run_id in file.read_text().split():
    ids.put(run_id)
for _ in range(threads):
    ids.put(None)


def work(_: int) -> None:
    connection = HTTPConnection(urlsplit(uri).netloc)
    while run_id := ids.get():
        connection.request(
            "POST",
            "/api/2.0/mlflow/runs/delete",
            json.dumps({"run_id": run_id}),
            {"Content-Type": "application/json"},
        )
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            sys.exit(f"the server answers {answer.status}")


with ThreadPoolExecutor(threads) as pool:
    list(pool.map(work, range(threads)))
