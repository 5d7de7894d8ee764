"""What the benchmarks compute besides time."""

import pytest

from bench import burda


def test_the_recipe_s_learning_rate_falls_in_stages_of_threefold_length() -> None:
    """3^i epochs at 10^(−i/7) of the rate, of 3,280 in all."""
    epochs = [10 ** (-i / 7) for i in range(8) for _ in range(3**i)]
    assert len(epochs) == 3280
    found = [burda.stage_factor((epoch + 0.5) / 3280) for epoch in range(3280)]
    assert found == pytest.approx(epochs)
    assert burda.stage_factor(1.0) == pytest.approx(0.1)


def test_the_table_has_the_paper_s_rows_and_what_was_found_in_one() -> None:
    rows = burda.table("iwae", 5, {"ours": 85.61234, "active units": 25})
    assert [row["paper"] for row in rows] == ["86.76", "86.47", "86.35", "85.54", "84.78"]
    assert [row["ours"] for row in rows] == [None, None, None, "85.61", None]
    assert rows[3]["row"] == "IWAE k = 5"
