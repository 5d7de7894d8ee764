"""The one exception whose message is written for the person who made the mistake."""

__all__ = ["UserError"]


class UserError(Exception):
    """A mistake by the user; the message says what was wrong, with the value, and what to do."""
