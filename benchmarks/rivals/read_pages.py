"""A load generator: fetch the same pages as a report, in as many threads, and throw them away.

    read_pages.py URI THREADS PAGES_FILE

PAGES_FILE holds the bodies of the requests that a report sent, one JSON object per line.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from queue import SimpleQueue
from urllib.parse import urlsplit

uri, threads, file = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
bodies: SimpleQueue[bytes | None] = SimpleQueue()
for line in file.read_bytes().splitlines():
    bodies.put(line)
for _ in range(threads):
    bodies.put(None)


def work(_: int) -> None:
    connection = HTTPConnection(urlsplit(uri).netloc)
    while body := bodies.get():
        connection.request(
            "POST", "/api/2.0/mlflow/runs/search", body, {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            sys.exit(f"the server answers {answer.status}")


with ThreadPoolExecutor(threads) as pool:
    list(pool.map(work, range(threads)))
