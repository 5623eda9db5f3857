from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from unit import worlds
from unit.worlds import a_run, an_experiment

from mlflow_gc.errors import GcError
from mlflow_gc.plan.builder import SIGNATURES
from mlflow_gc.plan.writer import refuse_overwriting, render, write

PLAN = worlds.plan_of(worlds.inventory(an_experiment(), a_run()))


@given(worlds.inventories())
def test_one_entity_a_line(found):
    plan = worlds.plan_of(found)
    text = render(plan).decode()
    assert text.endswith("}\n")
    assert "\r" not in text
    lines = [line.rstrip(",") for line in text.split("\n")]
    for part in (plan, plan["protected"]):
        for kind in ("experiments", "runs", "model_versions"):
            for entity in part[kind]:
                assert json.dumps(entity, ensure_ascii=False, separators=(",", ":")) in lines or (
                    entity in [json.loads(x) for x in lines if x.startswith("{") and len(x) > 1]
                )


def test_writing_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text("before")
    path.chmod(0o640)
    write([b"after"], path)
    assert path.read_text() == "after"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(GcError, match="cannot be written"):
        write([b"x"], tmp_path / "missing" / "plan.json")


def test_a_new_file_is_its_owners_only_and_no_umask_is_touched(tmp_path, monkeypatch):
    """Another thread may be making a file; what is no secret follows the umask."""
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", lambda _mask: pytest.fail("the umask is everybody's"))
        write([b"x"], tmp_path / "plan.json")
        write([b"x"], tmp_path / "policy.yml", is_private=False)
    finally:
        monkeypatch.undo()
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"plan.json": 0o600, "policy.yml": 0o640}


def test_a_symbolic_link_is_written_through(tmp_path):
    """Its target gets the content, whether it exists by now or not."""
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "plan.json"
    link.symlink_to("elsewhere/real.json")
    for content in (b"first", b"second"):
        write([content], link)
        assert link.is_symlink()
        assert (tmp_path / "elsewhere" / "real.json").read_bytes() == content
    assert [p.name for p in (tmp_path / "elsewhere").iterdir()] == ["real.json"]


@pytest.mark.parametrize(
    ("content", "fine"),
    [
        (render(PLAN), True),
        (json.dumps(PLAN, indent=4, sort_keys=True).encode(), True),
        (b"", True),
        (b"\n", True),
        (b"version: 1\n", False),
        (b'{"type":"header","format":"mlflow-gc/journal","format_version":"1.0"}\n', False),
        (b'{"precious": true}', False),
        (b"\x00\xff", False),
    ],
)
def test_only_what_it_made_itself_is_overwritten(tmp_path, content, fine):
    path = tmp_path / "file"
    refuse_overwriting(path, SIGNATURES, "a plan")
    path.write_bytes(content)
    if fine:
        refuse_overwriting(path, SIGNATURES, "a plan")
    else:
        with pytest.raises(GcError, match="is not a plan"):
            refuse_overwriting(path, SIGNATURES, "a plan")


@pytest.mark.parametrize("name", ["missing/plan.json", "missing/../file"])
def test_a_missing_folder_is_said_before_anything_is_read(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(GcError, match="does not exist"):
        refuse_overwriting(tmp_path / name, SIGNATURES, "a plan")


@pytest.mark.parametrize("name", ["missing/plan.json", "missing/../file", "link"])
def test_a_missing_folder_hides_no_file(tmp_path, name):
    """The system does not find missing/../file; its text, resolved, names a file of somebody else."""
    path = tmp_path / "file"
    path.write_bytes(b"precious")
    (tmp_path / "link").symlink_to("missing/../file")
    with pytest.raises(GcError, match="cannot be written"):
        write([b"plan"], tmp_path / name)
    assert path.read_bytes() == b"precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "link"]
