"""Who may import whom. The house has doors: lower rooms never know of higher ones."""

import ast
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "vglamm_jax"
LOWER = {"config", "sharding", "chips"}
DOORS = {
    "config": set(),
    "sharding": set(),
    "chips": set(),
    "models": LOWER,
    "data": {"config"},
    "convert": LOWER | {"models"},
    "infer": LOWER | {"models", "data", "convert"},
    "train": LOWER | {"models", "data", "convert", "infer", "eval"},
    "eval": LOWER | {"models", "data", "convert", "infer"},
    "annotate": LOWER | {"models", "data", "convert", "infer", "eval"},
    "app": LOWER | {"models", "data", "convert", "infer"},
    "bench": LOWER | {"models", "data", "convert", "infer", "train"},
    "aot": LOWER | {"models", "data", "convert", "infer", "train"},
    "cli": None,  # the front door opens every room
    "__init__": {"infer", "config"},
}
NO_JAX = (
    *("data/video.py", "data/preprocess.py", "data/prompts.py", "data/schema.py", "data/splice.py"),
    *("data/check.py", "data/markup.py", "data/masks.py", "data/fields.py"),
)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_imported(path: Path) -> set[str]:
    ours = [name.split(".") for name in imported_modules(path) if name.startswith("vglamm_jax.")]
    return {parts[1] for parts in ours}


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_through_the_doors(path):
    room = room_of(path)
    assert room in DOORS, f"a new room needs its doors written down here: {room}"
    allowed = DOORS[room]
    if allowed is None:
        return
    known = rooms_imported(path) & set(DOORS)
    assert known <= allowed | {room}, f"{path.name} of room {room} may not import {known - allowed - {room}}"


@pytest.mark.parametrize("name", NO_JAX)
def test_host_data_code_needs_no_jax(name):
    path = PACKAGE / name
    if path.exists():
        assert not {m for m in imported_modules(path) if m.split(".")[0] in {"jax", "flax", "torch"}}


def test_nothing_imports_the_front_door_or_the_configs():
    for path in FILES:
        modules = imported_modules(path)
        assert not any(m.split(".")[0] == "configs" for m in modules), path
        assert not any(m.startswith("vglamm_jax.cli") for m in modules), path


def test_files_and_functions_stay_small():
    for path in [*FILES, *sorted((ROOT / "configs").rglob("*.py")), *sorted((ROOT / "tests").rglob("*.py"))]:
        text = path.read_text()
        assert text.count("\n") <= 400, f"{path} has over 400 lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = node.end_lineno - node.lineno + 1
                assert length <= 60, f"{path}: {node.name} has {length} lines"
