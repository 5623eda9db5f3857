"""The manifests for Kubernetes in the documentation, and what their containers would execute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from support.pages import PAGES, Block, blocks


@dataclass(frozen=True)
class Manifest:
    """A document of a block of YAML.

    Attributes:
        block: where it stands.
        document: what it says.
    """

    block: Block
    document: dict[str, Any]

    @property
    def pod(self) -> dict[str, Any]:
        """The pod of a job, also that of a CronJob."""
        spec = self.document["spec"]
        job = spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec
        return dict(job["template"]["spec"])

    @property
    def container(self) -> dict[str, Any]:
        """The one container of its pod."""
        (found,) = self.pod["containers"]
        return dict(found)

    @property
    def env(self) -> dict[str, dict[str, Any]]:
        """The variables of the container by name."""
        return {each["name"]: each for each in self.container.get("env", [])}

    def __str__(self) -> str:
        return f"{self.block}-{self.document['kind']}"


def manifests() -> list[Manifest]:
    """All of them, of all pages."""
    return [
        Manifest(block, document)
        for page in PAGES
        for block in blocks(page)
        if block.language == "yaml" and "apiVersion:" in block.text
        for document in yaml.safe_load_all(block.text)
    ]


def of(file: str) -> Manifest:
    """The one manifest that is meant for ``file``."""
    (found,) = [each for each in manifests() if each.block.file == file]
    return found


def other_arguments() -> list[list[str]]:
    """What a page says to put in place of the arguments of a job."""
    return [
        yaml.safe_load(block.text)["args"]
        for page in PAGES
        for block in blocks(page)
        if block.language == "yaml" and block.text.lstrip().startswith("args:")
    ]


def init_container() -> dict[str, Any]:
    """The one init container that a page adds to a job."""
    (found,) = [
        block
        for page in PAGES
        for block in blocks(page)
        if block.language == "yaml" and block.text.lstrip().startswith("initContainers:")
    ]
    (container,) = yaml.safe_load(found.text)["initContainers"]
    return dict(container)
