"""Numbers as people write them."""

import numpy as np

__all__ = ["counted", "decimal", "drawn_share", "percent", "shortened"]

_MOST_LETTERS = 32


def percent(share: float) -> str:
    """A share: '42%', near its ends '3.1%' and '99.5%', and neither 0 nor 100 % for what is neither."""
    if 0 < share < 0.0005:
        return "under 0.1%"
    if 0.9995 <= share < 1:
        return "over 99.9%"
    return f"{share:.{0 if share in (0, 1) or 0.1 <= share <= 0.9 else 1}%}"


def drawn_share(share: float, draws: int) -> str:
    """The share of so many draws with its standard error: '6.0% ± 0.8%'; 'none' and 'all', of which draws tell none."""
    if share in (0, 1):
        return "all" if share else "none"
    return f"{percent(share)} ± {(share * (1 - share) / draws) ** 0.5:.1%}"


def counted(value: float) -> str:
    """How many, where parts count too: '1.3', '98.0', '1,240'."""
    return f"{value:,.{0 if value >= 100 else 1}f}"


def decimal(value: float) -> str:
    """A number to six digits, without an exponent or needless zeros: '0.00001', '3', '0.333333'."""
    return np.format_float_positional(float(f"{value:.6g}"), trim="-")


def shortened(name: str) -> str:
    """A name of at most 32 letters: of a longer one the beginning and the end."""
    return name if len(name) <= _MOST_LETTERS else f"{name[:18]}…{name[-13:]}"
