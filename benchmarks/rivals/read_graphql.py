"""All active runs over GraphQL, with what a decision needs of them: tags and times of metrics.

    read_graphql.py URI THREADS PAGES_FILE

PAGES_FILE holds bodies of ``runs/search``; the same windows are asked for.  Prints runs and bytes.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import orjson

uri, threads, file = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
QUERY = """query Runs($data: MlflowSearchRunsInput!) { mlflowSearchRuns(input: $data) {
  runs { info { runId runName experimentId userId status startTime endTime artifactUri }
         data { tags { key value } metrics { timestamp } } } nextPageToken } }"""


def fetch(body: str) -> tuple[int, int]:
    asked = json.loads(body)
    variables = {
        "experimentIds": asked["experiment_ids"],
        "filter": asked["filter"],
        "orderBy": asked["order_by"],
        "maxResults": asked["max_results"],
    }
    connection = HTTPConnection(urlsplit(uri).netloc)
    connection.request(
        "POST",
        "/graphql",
        json.dumps({"query": QUERY, "variables": {"data": variables}}),
        {"Content-Type": "application/json"},
    )
    content = connection.getresponse().read()
    connection.close()
    answer = orjson.loads(content)
    if answer.get("errors"):
        sys.exit(str(answer["errors"])[:500])
    return len(answer["data"]["mlflowSearchRuns"]["runs"]), len(content)


with ThreadPoolExecutor(threads) as pool:
    found = list(pool.map(fetch, file.read_text().splitlines()))
print(sum(runs for runs, _ in found), sum(size for _, size in found))
