"""What the benchmarks compute besides time."""

import pytest
import torch

from bench import burda, precision


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


@pytest.mark.parametrize(("budget", "epochs"), [(1.0, 1), (30.0, 10), (300.0, 100), (550.0, 200)])
def test_the_epochs_and_their_tests_fill_the_time(budget: float, epochs: int) -> None:
    """Two seconds an epoch and one a test, of which the first hundred epochs have one each, the next every other."""
    assert burda.epochs_in(budget, 2.0, 1.0) == epochs


def test_tf32_keeps_11_bits_and_rounds_to_the_nearest() -> None:
    values = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    mantissa, exponent = torch.frexp(values.double())
    expected = torch.ldexp((mantissa * 2**11).round(), exponent - 11)
    torch.testing.assert_close(precision.rounded(values).double(), expected, rtol=0, atol=0)
    halves = torch.tensor([1 + 2**-11, 1 + 3 * 2**-11])
    assert precision.rounded(halves).tolist() == [1.0, 1 + 2**-9]
