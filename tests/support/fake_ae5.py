#!/usr/bin/env python3
"""Stands for ``ae5`` of ae5-tools on the path of a test: records its arguments, and answers.

It accepts only options that ae5-tools has, and behaves like it where that matters to whom it serves:

- it exits with 0 if the run that it waited for failed; the record of the run says so;
- the names of jobs and of runs, also those of deleted jobs, are taken, unless ``--make-unique``;
- a job that runs is not deleted;
- a request that is refused is printed with its body, so with the value of a secret;
- without login it asks for a password: here it ends.

Its state is a JSON file, named by the variable ``FAKE_AE5``; so are the failures that a test wants.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

EMPTY: dict[str, Any] = {
    "ids": 0,
    "projects": [],
    "jobs": [],
    "runs": [],
    "secrets": {},
    # Of each call: its arguments, and the folder of its cookies.
    "calls": [],
    "config": [],
    # What a test wants: how a report ends; a secret that is refused.
    "report_state": "completed",
    "refused_secret": None,
}
"""A cluster before anything was deployed."""

LOGIN = ("AE5_HOSTNAME", "AE5_USERNAME")
TIMES = {"created": "2026-05-01T00:00:00+00:00", "updated": "2026-05-01T00:00:00+00:00"}


def fail(message: str) -> NoReturn:
    sys.stderr.write(f"Error: {message}\n")
    sys.exit(1)


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser("ae5", allow_abbrev=False)
    groups = whole.add_subparsers(dest="group", required=True)
    login = groups.add_parser("login", allow_abbrev=False)
    for option in ("--hostname", "--username", "--admin-username"):
        login.add_argument(option)
    login.add_argument("--impersonate", action="store_true")
    commands: dict[str, argparse.ArgumentParser] = {}
    wanted = {
        "project": {"list": "?", "upload": "filename", "delete": "ident"},
        "secret": {"add": "key value", "list": ""},
        "job": {"list": "?", "create": "ident", "delete": "ident"},
        "run": {"list": "?", "log": "ident"},
    }
    for group, names in wanted.items():
        parsers = groups.add_parser(group, allow_abbrev=False).add_subparsers(
            dest="command", required=True
        )
        for name, arguments in names.items():
            made = parsers.add_parser(name, allow_abbrev=False)
            commands[f"{group} {name}"] = made
            made.add_argument("--format", choices=["text", "csv", "json"])
            made.add_argument("--yes", action="store_true")
            for argument in arguments.split():
                if argument == "?":
                    made.add_argument("ident", nargs="?", default="*")
                else:
                    made.add_argument(argument)
    commands["project upload"].add_argument("--name", required=True)
    create = commands["job create"]
    for option in ("--name", "--schedule"):
        create.add_argument(option)
    create.add_argument("--command", dest="of_project", required=True)
    create.add_argument("--variable", action="append", default=[])
    for flag in ("--make-unique", "--wait", "--show-run"):
        create.add_argument(flag, action="store_true")
    return whole


def check_login() -> None:
    impersonates = os.environ.get("AE5_IMPERSONATE")
    if impersonates not in {None, "true", "1"}:
        fail(f"{impersonates!r} is not a valid boolean.")
    who = "AE5_ADMIN_" if impersonates else "AE5_"
    for name in (*LOGIN, f"{who}USERNAME", f"{who}PASSWORD"):
        if not os.environ.get(name):
            fail(f"a prompt for {name}, and nobody is there")
    if os.environ[f"{who}PASSWORD"] != "correct horse":
        fail("Invalid username or password.")


class Cluster:
    def __init__(self) -> None:
        self.file = Path(os.environ["FAKE_AE5"])
        self.state: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))

    def save(self) -> None:
        self.file.write_text(json.dumps(self.state), encoding="utf-8")

    def of_kind(self, kind: str, ident: str) -> list[dict[str, Any]]:
        found = self.state[f"{kind}s"]
        return [r for r in found if r["id"] == ident or fnmatch.fnmatch(r["name"], ident)]

    def one(self, kind: str, ident: str) -> dict[str, Any]:
        found = self.of_kind(kind, ident)
        if len(found) != 1:
            fail(f"{'Multiple' if found else 'No'} {kind}s found matching name={ident}")
        return found[0]

    def new_id(self, prefix: str) -> str:
        self.state["ids"] += 1
        return f"{prefix}-{self.state['ids']:032x}"

    # ------------------------------------------------------------------------ commands

    def upload(self, filename: str, name: str) -> dict[str, Any]:
        if not Path(filename).is_file():
            fail(f"Path '{filename}' does not exist.")
        if any(project["name"] == name for project in self.state["projects"]):
            fail(f"Unexpected response: 400 A project of the name {name} exists.")
        project = {"id": self.new_id("a0"), "name": name, "archive": str(Path(filename).resolve())}
        self.state["projects"].append(project)
        return project

    def add_secret(self, key: str, value: str) -> None:
        if key == self.state["refused_secret"]:
            body = {"key": key, "value": value}
            fail(f"Unexpected response: 500 Internal Server Error\n  text: no\n  json: {body}")
        self.state["secrets"][key] = value

    def create(self, args: argparse.Namespace) -> dict[str, Any]:
        project = self.one("project", args.ident)
        taken = {record["name"] for record in (*self.state["jobs"], *self.state["runs"])}
        name, count = args.name, 0
        while args.make_unique and name in taken:
            count += 1
            name = f"{args.name}-{count}"
        if name in taken:
            fail(f"Unexpected response: 400 A job of the name {name} exists.")
        job = {
            **TIMES,
            "id": self.new_id("a2"),
            "name": name,
            "command": args.of_project,
            "project_name": project["name"],
            "state": "scheduled" if args.schedule else "running",
        }
        if args.schedule:
            job["schedule"] = args.schedule
        self.state["jobs"].append(job)
        if args.schedule:
            return job
        run = {**job, "id": self.new_id("a2"), "job": job["id"], "log": "Plan: 3 to delete"}
        run["state"] = self.state["report_state"]
        self.state["runs"].append(run)
        return run if args.show_run else job

    def delete_job(self, ident: str) -> None:
        job = self.one("job", ident)
        if job["state"] == "running" and job.get("schedule"):
            fail("Unexpected response: 400 The job has an active run.")
        self.state["jobs"].remove(job)


def answer(cluster: Cluster, args: argparse.Namespace) -> object:
    match args.group, getattr(args, "command", None):
        case "project", "upload":
            return cluster.upload(args.filename, args.name)
        case "secret", "add":
            return cluster.add_secret(args.key, args.value)
        case "secret", "list":
            return [{"secret_name": name} for name in cluster.state["secrets"]]
        case "job", "create":
            return cluster.create(args)
        case "job", "delete":
            return cluster.delete_job(args.ident)
        case "project", "delete":
            return cluster.state["projects"].remove(cluster.one("project", args.ident))
        case "run", "log":
            return cluster.one("run", args.ident)["log"]
        case kind, "list":
            return cluster.of_kind(kind, args.ident)
    return None


def main() -> None:
    args = parser().parse_args()
    cluster = Cluster()
    cluster.state["calls"].append(sys.argv[1:])
    cluster.state["config"].append(os.environ.get("AE5_TOOLS_CONFIG_DIR"))
    cluster.save()
    check_login()
    sys.stderr.write(f"Connecting to user account {os.environ['AE5_USERNAME']}.\n")
    found = answer(cluster, args)
    cluster.save()
    if found is not None:
        print(found if isinstance(found, str) else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
