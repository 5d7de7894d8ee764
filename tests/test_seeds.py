"""docs/seeds.md names pages and tests that are there."""

import re
from pathlib import Path

import pytest

from ui.ways import SECTIONS

ROOT = Path(__file__).resolve().parents[1]
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in (ROOT / "docs" / "seeds.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| Section", "| Part"))
]
TITLES = {way.label for ways in SECTIONS.values() for way in ways}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1][:40])
def test_every_statement_has_a_page_and_a_test(row):
    _, _, pages, test = row
    assert any(pages.startswith(title) for title in TITLES), pages
    path, _, name = test.strip("`").partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / "tests" / path).read_text("utf-8"), re.MULTILINE), test


def test_no_seed_is_left_out():
    seeds = re.findall(r"^## `(\d{3}_\w+\.txt)`", (ROOT / "docs" / "seeds.md").read_text("utf-8"), re.MULTILINE)
    assert [seed[:3] for seed in seeds] == ["000", "001", "002", "003"]
    assert len(ROWS) > 80
