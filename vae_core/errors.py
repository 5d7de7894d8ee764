"""The one exception whose message is written for the person who made the mistake."""

__all__ = ["EXIT_STATUS", "UserError"]

EXIT_STATUS = 2
"""With which a command ends after a UserError."""


class UserError(Exception):
    """A mistake by the user; the message says what was wrong, with the value, and what to do."""
