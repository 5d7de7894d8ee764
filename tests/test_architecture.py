"""Imports point one way: pages → ui → vae_core, which knows no Streamlit and no Plotly."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = {"vae_core": {"vae_core"}, "ui": {"vae_core", "ui"}, "pages": {"vae_core", "ui", "pages"}}
PAGE_LIBRARIES = {"streamlit", "plotly"}


def _imported(path: Path) -> set[str]:
    """The top-level names of everything that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names.add(node.module.partition(".")[0])
    return names


def _files(layer: str) -> list[Path]:
    files = sorted((ROOT / layer).rglob("*.py"))
    assert files, f"{layer} has no modules"
    return files


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_one_way(layer: str) -> None:
    for path in _files(layer):
        if path.parent == ROOT / "pages":  # a way in: it may run the frame, and nothing else
            assert _imported(path) == {"app"}, path.name
            continue
        above = (_imported(path) & (LAYERS.keys() | {"app", "tests", "bench"})) - LAYERS[layer]
        assert not above, f"{path.relative_to(ROOT)} imports {above}"


def test_the_core_names_no_page_library() -> None:
    for path in _files("vae_core"):
        assert not _imported(path) & PAGE_LIBRARIES, path.relative_to(ROOT)


def test_the_core_loads_no_page_library() -> None:
    """All of vae_core imported in a fresh process: neither library is there, by whatever way."""
    modules = [f"vae_core.{path.stem}" for path in _files("vae_core") if not path.stem.startswith("__")]
    code = f"import sys, {', '.join(modules)}; print(sorted({PAGE_LIBRARIES!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_modules_open_with_a_line_and_name_what_they_offer() -> None:
    for path in [*_files("vae_core"), *_files("ui")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.name in ("__init__.py", "__main__.py") and len(tree.body) < 2:
            continue
        docstring = ast.get_docstring(tree)
        assert docstring, f"{path.relative_to(ROOT)} has no docstring"
        assert "\n" not in docstring.partition("\n\n")[0], f"{path.relative_to(ROOT)} opens with more than one line"
        if path.name not in ("__init__.py", "__main__.py"):
            names = [t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)]
            assert "__all__" in names, f"{path.relative_to(ROOT)} has no __all__"
