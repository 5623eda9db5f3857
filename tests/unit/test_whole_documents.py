"""What users get of worlds that never change, byte for byte: see :mod:`unit.whole_documents`."""

from __future__ import annotations

from unit import whole_documents


def test_documents_are_as_they_were() -> None:
    made = dict(whole_documents.documents())
    golden = {
        f"{path.parent.name}/{path.name}": path.read_bytes()
        for path in whole_documents.DIRECTORY.glob("*/*")
    }
    assert sorted(made) == sorted(golden)
    different = [name for name in made if made[name] != golden[name]]
    assert different == [], f"{len(different)} of {len(made)} differ"
