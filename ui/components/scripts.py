"""The text of the scripts and styles that lie beside the components."""

from pathlib import Path

__all__ = ["script", "style"]

_FOLDER = Path(__file__).parent


def script(*names: str) -> str:
    """A component's JavaScript: what all of them share, then its own files `<name>.js`, in this order."""
    return "".join(_read(f"{name}.js") for name in ("shared", *names))


def style(*names: str) -> str:
    """A component's CSS: what all of them share, then its own files `<name>.css`, in this order."""
    return "".join(_read(f"{name}.css") for name in ("shared", *names))


def _read(file_name: str) -> str:
    return (_FOLDER / file_name).read_text(encoding="utf-8")
