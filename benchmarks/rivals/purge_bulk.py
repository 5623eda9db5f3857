"""Delete runs as fast as a database and a store can, and check nothing."""

import os
import shutil
import sys
from collections import defaultdict
from pathlib import Path

import psycopg2

database_uri, file, proxied = sys.argv[1:]  # the folder that a server passes files on from
ids = Path(file).read_text().split()
connection = psycopg2.connect(database_uri.replace("postgresql+psycopg2", "postgresql"))
keys: dict[str, list[dict[str, str]]] = defaultdict(list)
bucket, s3 = "", None
with connection.cursor() as cursor:
    cursor.execute("SELECT artifact_uri FROM runs WHERE run_uuid = %s", (ids[0],))
    first = cursor.fetchone()[0]
    if first.startswith("s3://"):
        import boto3

        bucket = first.split("/")[2]
        s3 = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for item in page["Contents"]:
                keys[item["Key"].rpartition("/")[0]].append({"Key": item["Key"]})
    for start in range(0, len(ids), 100):
        some = ids[start : start + 100]
        cursor.execute("SELECT artifact_uri FROM runs WHERE run_uuid = ANY(%s)", (some,))
        uris = [uri for (uri,) in cursor.fetchall()]
        if s3 is None:
            for uri in uris:
                shutil.rmtree(Path(uri.replace("mlflow-artifacts:", proxied)).parent)
        else:
            objects = [key for uri in uris for key in keys[uri.split("/", 3)[3]]]
            s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
            cursor.execute(f"DELETE FROM {table} WHERE run_uuid = ANY(%s)", (some,))
        connection.commit()
connection.close()
