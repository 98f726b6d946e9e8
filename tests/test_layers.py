"""Imports point one way, and what need not be imported is not."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "colondepth": set(),
    "synthetic_colons": {"colondepth"},
    "evaluation": {"colondepth", "synthetic_colons"},
    "curriculum": {"colondepth", "synthetic_colons"},
    "dashboards": {"colondepth", "synthetic_colons", "evaluation", "curriculum"},
}
# Training runs on machines that have none of these: only modules whose subject they are, and which
# nothing imports before it needs them, may.
ABOUT_VIDEO = ("video", "deidentif")
SPARED = ("pyvista", "vtk", "vtkmodules", "streamlit", "av", "albumentations", "cv2", "pydicom")


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_lies_below_it(package):
    imported = {
        name.split(".")[0]
        for file in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for name in _imports(node)
    }
    assert imported & MAY_IMPORT.keys() - {package} <= MAY_IMPORT[package]


def test_no_package_imports_the_gpl_library_that_the_tests_compare_with():
    for package in MAY_IMPORT:
        for file in (ROOT / package).rglob("*.py"):
            assert "import evo" not in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("package", ["colondepth", "synthetic_colons", "curriculum", "evaluation"])
def test_importing_a_package_needs_no_screen_no_video_and_no_pages(package):
    # Whole packages, every module: a stub raises for what a bare GPU machine lacks.
    code = f"""
import importlib, pathlib, sys
for name in {SPARED}:
    sys.modules[name] = None
for file in sorted(pathlib.Path({str(ROOT)!r}, {package!r}).rglob("*.py")):
    parts = file.relative_to({str(ROOT)!r}).with_suffix("").parts
    if parts[-1] != "__main__" and not parts[-1].startswith({ABOUT_VIDEO}):
        importlib.import_module(".".join(p for p in parts if p != "__init__"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_files_can_be_read_in_one_sitting_and_are_named_after_a_subject():
    for package in MAY_IMPORT:
        for file in (ROOT / package).rglob("*.py"):
            assert len(file.read_text(encoding="utf-8").splitlines()) <= 400, file
            assert file.stem not in {"utils", "util", "helpers", "misc", "common"}, file


def _imports(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
