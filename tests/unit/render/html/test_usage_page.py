"""The map of usage: its parts are divided by stage, named, and reached by clicks."""

from __future__ import annotations

import re

from unit.render.usage_documents import HOSTILE, usage_document

from mlflow_gc.render.html import usage_page


def _map(page: str, place: str) -> str:
    """Return one panel of the map."""
    found = re.search(rf'<section class="map" id="{place}".*?</section>', page, re.DOTALL)
    assert found
    return found[0]


def test_each_part_shows_its_stages() -> None:
    panel = _map(usage_page.show(usage_document(a=800, b=200)), "map")
    widths = {
        stage: [float(w) for w in re.findall(rf'stage-{stage}".*?width="([0-9.]+)"', panel)]
        for stage in ("active", "trash")
    }
    assert widths["active"] == widths["trash"]
    assert len(widths["trash"]) == 2


def test_every_part_leads_to_what_is_in_it() -> None:
    page = usage_page.show(usage_document(a=800, b=200))
    assert 'href="#e0"' in _map(page, "map")
    assert 'href="#e0-run"' in _map(page, "e0")
    assert "trash" in _map(page, "e0-run")
    places = set(re.findall(r'href="#([^"]+)"', page))
    assert places <= set(re.findall(r'id="([^"]+)"', page))


def test_names_are_escaped_cut_and_never_empty() -> None:
    page = usage_page.show(
        usage_document(**{HOSTILE: 5, "nameless": 4, "模型" * 90: 3, "a" * 200: 2})
    )
    assert HOSTILE not in page
    assert "(no name)</text>" in page
    labels = re.findall(r'<text x="8" y="1.4em">(.*?)</text>', _map(page, "map"))
    assert len(labels) == 4
    assert all(len(label) < 100 for label in labels)


def test_the_legend_has_what_is_on_the_map() -> None:
    page = usage_page.show(usage_document(a=10))
    legend = re.search(r'<ul class="legend">.*?</ul>', page, re.DOTALL)
    assert legend
    assert re.findall(r"</svg>([a-z]+)</li>", legend[0]) == ["active", "trash"]


def test_a_server_without_anything_has_a_page() -> None:
    assert "Where is it?" in usage_page.show(usage_document())


def test_experiments_after_the_largest_are_reached_by_a_click() -> None:
    """Each by itself; only the smallest of very many are one part."""
    document = usage_document(a=8000, b=4000)
    document["largest"]["other_experiments"] = {
        "count": 12,
        "rows": 1,
        "database_bytes": 0,
        "files": 1,
        "file_bytes": 1_000,
        "parts": [
            {"kind": "run", "stage": stage, "database_bytes": 0, "file_bytes": size}
            for stage, size in (("active", 700), ("trash", 300))
        ],
        "experiments": [
            {"experiment_id": "7", "name": HOSTILE, "stages": {"active": 400, "trash": 200}},
            {"experiment_id": "8", "name": "", "stages": {"active": 100}},
        ],
    }
    page = usage_page.show(document)
    assert HOSTILE not in page
    assert 'href="#others"' in _map(page, "map")
    panel = _map(page, "others")
    found = re.findall(r"<title>(.*?): (\d+) bytes, ", panel)
    assert [size for _, size in found] == ["600", "300", "100"]
    assert [name for name, _ in found[1:]] == ["10 smaller experiments", "(no name)"]
    assert panel.count('class="stage-trash"') == 2


def test_three_hundred_experiments_fit_into_the_area() -> None:
    page = usage_page.show(
        usage_document(**{f"e{n}": 10**9 // (n + 1) ** 3 + 1 for n in range(300)})
    )
    boxes = re.findall(
        r'class="box" fill="none" x="([0-9.]+)" y="([0-9.]+)" width="([0-9.]+)" height="([0-9.]+)"',
        _map(page, "map"),
    )
    assert len(boxes) == 300
    for x, y, width, height in (map(float, box) for box in boxes):
        assert x + width <= 1000.2
        assert y + height <= 360.2
