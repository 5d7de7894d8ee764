"""The one exception whose message is written for the person who made the mistake, and the check that raises it most."""

__all__ = ["EXIT_STATUS", "UserError", "check_range"]

EXIT_STATUS = 2
"""With which a command ends after a UserError."""


class UserError(Exception):
    """A mistake by the user; the message says what was wrong, with the value, and what to do."""


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise UserError where `value` is not a number from `low` to `high`; whole where `low` is an int."""
    whole = isinstance(low, int)
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not (number and low <= value <= high):
        kind = "a whole number" if whole else "a number"
        bounds = [f"{bound:,}" if whole else f"{bound:,g}" for bound in (low, high)]
        given = f"{value:,}".removesuffix(".0") if isinstance(value, float) else repr(value)
        raise UserError(f"The {name} {given} is not {kind} from {bounds[0]} to {bounds[1]}.")
