"""Numbers as people write them."""

import pytest

from vae_core.words import counted, decimal, percent, shortened


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0, "0%"),
        (1, "100%"),
        (0.0004, "under 0.1%"),
        (0.0006, "0.1%"),
        (0.031, "3.1%"),
        (0.42, "42%"),
        (0.995, "99.5%"),
        (0.9998, "over 99.9%"),
    ],
)
def test_a_share_that_is_neither_none_nor_all_is_not_called_so(share: float, said: str) -> None:
    assert percent(share) == said


@pytest.mark.parametrize(("value", "said"), [(1.0, "1.0"), (1.26, "1.3"), (98.04, "98.0"), (2048.0, "2,048")])
def test_parts_count_where_there_are_few(value: float, said: str) -> None:
    assert counted(value) == said


@pytest.mark.parametrize(("value", "said"), [(1e-5, "0.00001"), (3.0, "3"), (0.25, "0.25"), (1 / 3, "0.333333")])
def test_small_numbers_have_no_exponent(value: float, said: str) -> None:
    assert decimal(value) == said


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    assert shortened("a cat.png") == "a cat.png"
    assert shortened("holiday " * 20 + "at the sea.png") == "holiday holiday ho…t the sea.png"
    assert len(shortened("x" * 170)) == 32
