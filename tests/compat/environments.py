"""An environment for each version of MLflow that serves: built once, kept in ``.compat``.

Run as ``python environments.py [SERVER ...]`` to build what is missing; without a server all of
:data:`SERVED`, the newest on the registry, :data:`ON_DATABASES` and :data:`FOR_CLIENTS`.  A server is
a version; with its database: ``2.14.3+postgresql``; with the MLflow that is installed beside the
program: ``2.14.3@lowest``.  What cannot be built is named, with the reason.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.databases import DATABASES

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".compat"
SERVED = (
    *("2.3.2", "2.9.2", "2.14.3", "2.22.5"),
    *("3.1.4", "3.6.0", "3.10.1", "3.13.0", "3.17.2"),
)
NEWEST = "newest"
LOWEST = "lowest"
"""Every package that pyproject.toml names, in the lowest version that it allows."""
ON_DATABASES = tuple(
    f"{version}+{name}" for version in ("2.14.3", "3.17.2", NEWEST) for name in DATABASES
)
FOR_CLIENTS = tuple(
    f"{version}@{client}" for version in ("2.14.3", "3.17.2") for client in (LOWEST, NEWEST)
)

_READY = "ready"
"""Name of the file that says that an environment is complete, and what was special about it."""
_OVERRIDES = "overrides.txt"
_PYTHON = "3.11"
"""The newest that the oldest of these versions runs on."""
_AUTH = "flask-wtf"
"""What the app ``basic-auth`` needs on top of MLflow."""


class NotBuilt(Exception):
    """An environment that cannot be had, with the reason."""


@dataclass(frozen=True)
class Environment:
    """A version of MLflow that can serve.

    Attributes:
        version: of MLflow.
        directory: of the environment.
        database: other than SQLite that the server is to run on; "" for none.
        client: ``lowest`` or ``newest``: the packages beside the program; "" for the locked ones.
    """

    version: str
    directory: Path
    database: str = ""
    client: str = ""

    @classmethod
    def of(cls, server: str) -> Environment:
        """Return the environment of a server, built or not."""
        rest, _, client = server.partition("@")
        version, _, database = rest.partition("+")
        return cls(version, CACHE / version, database, client)

    @property
    def ready(self) -> bool:
        """Whether it is built, with the driver of the database."""
        site = self.directory / "lib" / f"python{_PYTHON}" / "site-packages"
        if not (self.directory / _READY).is_file():
            return False
        needed = self.database and DATABASES[self.database].driver.removesuffix("-binary")
        return not needed or (site / needed).is_dir()

    @property
    def client_python(self) -> Path | None:
        """The interpreter that the program is to run with; None for this one."""
        return CACHE / f"client-{self.client}" / "bin" / "python" if self.client else None

    @property
    def client_version(self) -> str:
        """The version of MLflow beside the program."""
        where = [str(p) for p in (CACHE / f"client-{self.client}").glob("lib/*/site-packages")]
        (found,) = distributions(name="mlflow", **({"path": where} if self.client else {}))
        return found.version

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.directory / "bin" / "python"

    @property
    def note(self) -> str:
        """What was special about it; usually nothing."""
        return (self.directory / _READY).read_text(encoding="utf-8").strip()

    @property
    def number(self) -> tuple[int, ...]:
        """The version, to compare with."""
        return number(self.version)


def number(version: str) -> tuple[int, ...]:
    """Return a version as a tuple: ``3.10.1`` is newer than ``3.9``."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def pins(version: str) -> list[str]:
    """What a version of MLflow does not run with, although its metadata would allow it."""
    found = []
    if number(version) < (2, 4):
        # Flask.before_first_request and werkzeug.urls are gone since.
        found += ["flask<3", "werkzeug<3"]
    if number(version) < (3,):
        # pkg_resources.
        found += ["setuptools<81"]
    if number(version) < (3, 10):
        found += ["sqlalchemy<2.1"]
    return found


def wanted(words: list[str]) -> list[str]:
    """Return the servers that these words name, the newest on the registry by its number."""
    words = words or [*SERVED, NEWEST, *ON_DATABASES, *FOR_CLIENTS]
    found = (
        word.replace(NEWEST, newest(), 1) if word.startswith(NEWEST) else word for word in words
    )
    return list(dict.fromkeys(found))


def newest() -> str:
    """Return the newest version of MLflow on the registry.

    Raises:
        NotBuilt: the registry does not say.
    """
    said = _uv(
        *("pip", "compile", "--quiet", "--no-deps", "--no-annotate", "--no-header"),
        *("--upgrade", "--python-version", _PYTHON, "-"),
        stdin="mlflow\n",
    )
    found = re.search(r"^mlflow==(\S+)$", said, re.MULTILINE)
    if found is None:
        raise NotBuilt(f"the registry names no version of mlflow: {said.strip()}")
    return found[1]


def existing(server: str) -> Environment | None:
    """Return an environment that was built, None where there is none."""
    environment = Environment.of(server)
    return environment if environment.ready else None


def build(server: str) -> Environment:
    """Build an environment, or take it as it was built.

    Raises:
        NotBuilt: it cannot be had.
    """
    environment = Environment.of(server)
    if environment.database and not DATABASES[environment.database].programs():
        raise NotBuilt(f"{environment.database} is not installed")
    if not (environment.directory / _READY).is_file():
        _build(environment)
    if not environment.ready:
        driver = DATABASES[environment.database].driver
        _uv("pip", "install", "--quiet", "--python", str(environment.python), driver)
    if environment.client:
        _build_client(environment.client)
    return environment


def _build_client(client: str) -> None:
    """Build the environment that the program runs in; its code is that of the checkout."""
    environment = Environment(newest() if client == NEWEST else client, CACHE / f"client-{client}")
    if environment.ready:
        return
    project = ("-r", str(ROOT / "pyproject.toml"))
    if client == NEWEST:
        _build(environment)
        overrides = environment.directory / _OVERRIDES
        if overrides.is_file():
            project += ("--override", str(overrides))
    else:
        shutil.rmtree(environment.directory, ignore_errors=True)
        _uv("venv", "--quiet", "--python", _PYTHON, str(environment.directory))
        project += ("--resolution", "lowest-direct")
    _uv("pip", "install", "--quiet", "--python", str(environment.python), *project)
    (environment.directory / _READY).touch()


def _build(environment: Environment) -> None:
    shutil.rmtree(environment.directory, ignore_errors=True)
    _uv("venv", "--quiet", "--python", _PYTHON, str(environment.directory))
    note = _install(environment)
    said = subprocess.run(
        [environment.python, "-c", "import mlflow.version as v; print(v.VERSION)"],
        capture_output=True,
        text=True,
        check=False,
        cwd=environment.directory,
    )
    if said.stdout.strip() != environment.version:
        raise NotBuilt(f"it calls itself {said.stdout.strip() or said.stderr.strip()[-300:]}")
    (environment.directory / _READY).write_text(f"{note}\n", encoding="utf-8")


def _install(environment: Environment) -> str:
    """Install MLflow; returns what was special about it."""
    mlflow = f"mlflow=={environment.version}"
    install = (
        *("pip", "install", "--quiet", "--compile-bytecode"),
        *("--python", str(environment.python)),
    )
    rest = (_AUTH, *pins(environment.version))
    try:
        _uv(*install, mlflow, *rest)
    except NotBuilt as error:
        if "mlflow-skinny" not in str(error) and "mlflow-tracing" not in str(error):
            raise
    else:
        return ""
    # A release whose parts are not (all) on the registry.  MLflow's own package holds all the files;
    # the parts of another release bring the dependencies.
    overrides = environment.directory / _OVERRIDES
    parts = ("mlflow-skinny", "mlflow-tracing")
    overrides.write_text(
        "".join(f"{part}<={environment.version}\n" for part in parts), encoding="utf-8"
    )
    _uv(*install, "--override", str(overrides), mlflow, *rest)
    _uv(*install, "--no-deps", "--reinstall-package", "mlflow", mlflow)
    return "assembled: the registry has no mlflow-skinny of this version"


def _uv(*arguments: str, stdin: str = "") -> str:
    beside = Path(sys.executable).with_name("uv")
    done = subprocess.run(
        [str(beside) if beside.exists() else "uv", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "UV_NO_CONFIG": "1", "UV_NO_PROGRESS": "1"},
        cwd=ROOT,
    )
    if done.returncode:
        raise NotBuilt(f"uv {' '.join(arguments[:2])}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def main(words: list[str]) -> int:
    """Build what is missing, and print the servers that are there on stdout."""
    there = []
    for server in wanted(words):
        try:
            environment = build(server)
        except NotBuilt as error:
            print(f"MLflow {server} is left out: {error}", file=sys.stderr)
        else:
            print(
                f"MLflow {server}{environment.note and f' ({environment.note})'}", file=sys.stderr
            )
            there.append(server)
    print(*there)
    return 0 if there else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
