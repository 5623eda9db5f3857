"""Delete runs as fast as a database and a file system can, and check nothing."""

import shutil
import sys
from pathlib import Path

import psycopg2

database_uri, root, file = sys.argv[1:]
ids = Path(file).read_text().split()
connection = psycopg2.connect(database_uri.replace("postgresql+psycopg2", "postgresql"))
with connection.cursor() as cursor:
    for start in range(0, len(ids), 100):
        some = ids[start : start + 100]
        cursor.execute("SELECT artifact_uri FROM runs WHERE run_uuid = ANY(%s)", (some,))
        for (uri,) in cursor.fetchall():
            shutil.rmtree(Path(uri).parent)
        for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
            cursor.execute(f"DELETE FROM {table} WHERE run_uuid = ANY(%s)", (some,))
        connection.commit()
connection.close()
