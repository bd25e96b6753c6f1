"""The order of the house: who may import whom, and what stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "bertwright"
# A room may import what stands on an earlier line, never a neighbour on its own line.
ORDER = [
    ["errors"],
    ["door"],
    ["bias_terms", "files", "out_of_memory", "pack_card", "processes", "units"],
    ["pack", "store", "demo"],
    ["pack_pairs", "recipe"],
    ["text"],
    ["encoder", "training", "tasks"],
    ["debias", "exits"],
    ["deploy"],
    ["stages"],
    ["reports"],
    ["screen"],
    ["pipeline"],
    ["cli"],
    ["__main__"],
]
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}


def room_of(path: Path) -> str:
    """Return the room, or the file on top, that a path lies in."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Return the rooms that a file imports, wherever in the file it does."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "bertwright":
            rooms |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("bertwright."):
            rooms.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            rooms |= {a.name.split(".")[1] for a in node.names if a.name.startswith("bertwright.")}
    return rooms - {"__version__"}


FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(SOURCE)) for path in FILES])
def test_imports_point_one_way(path: Path) -> None:
    """A room imports only rooms that stand before it."""
    own = room_of(path)
    wrong = {room for room in imported_rooms(path) - {own} if LEVEL[room] >= LEVEL[own]}
    assert set() == wrong


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(SOURCE)) for path in FILES])
def test_files_stay_small(path: Path) -> None:
    """A file holds one idea and at most 400 lines."""
    assert path.read_text(encoding="utf-8").count("\n") <= 400


# Calls that change the disk, whoever's they are.
WRITING = {
    *("rename", "fsync", "fdatasync", "mkdir", "makedirs", "unlink", "rmdir", "rmtree", "link", "symlink", "chmod"),
    *("hardlink_to", "symlink_to", "write_text", "write_bytes", "touch", "copyfile", "copytree", "copy2", "move"),
    *("truncate", "posix_fallocate", "utime", "FileLock", "flock", "open_memmap", "tofile", "save_file", "mkstemp"),
    *("NamedTemporaryFile", "TemporaryDirectory", "TemporaryFile", "mkdtemp", "save_pretrained"),
}
# Calls of libraries that write where no stream is among their arguments.
INTO_A_STREAM = {"np.save", "np.savez", "pq.write_table", "pq.ParquetWriter"}
# What is no file (the pipe to a parent), and what `door.hand_over` calls.
ALLOWED = {("processes.py", "open"), ("deploy/nodes.py", "onnx.save_model")}


def written_by(call: ast.Call) -> str | None:
    """Return how a call changes the disk, or ``None``."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    owner = getattr(function.value, "id", "") if isinstance(function, ast.Attribute) else ""
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    words = [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    if owner in ("door", "files") or (name.startswith("write_") and isinstance(function, ast.Name)):
        return None
    if name in ("open", "fdopen"):
        return "open" if any(re.fullmatch("[rwaxbt+]*[wax+][rwaxbt+]*", word) for word in words) else None
    if f"{owner}.{name}" in INTO_A_STREAM:
        names = {one.id for argument in call.args for one in ast.walk(argument) if isinstance(one, ast.Name)}
        return None if names & {"stream", "target", "io"} else f"{owner}.{name}"
    if owner == "onnx" and name.startswith("save"):
        return f"{owner}.{name}"
    # A path's takes one argument, a string's two, and that of dataclasses names all but one.
    if name == "replace" and isinstance(function, ast.Attribute) and len(given) == 1:
        return name
    return name if name in WRITING or f"{owner}.{name}" in ("os.remove", "shutil.copy") else None


def test_only_the_door_changes_the_disk() -> None:
    """What is written, renamed, removed, linked, locked or synced goes through `door`, which tests can make fail."""
    found = {
        (str(path.relative_to(SOURCE)), way)
        for path in FILES
        if path.name != "door.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and (way := written_by(node))
    }
    assert ALLOWED == found
    for path in FILES:
        assert "from bertwright.door import" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize(
    "module",
    [
        "cli.main",
        "cli.pack",
        "recipe.reading",
        "store",
        "pack",
        "pack_pairs",
        "text.shards",
        "text.tokenizer",
        "pipeline.plan",
        "pipeline.check",
        "pipeline.forecast",
        "pipeline.run",
        "stages.measure_data",
        "reports.page",
        "demo.write",
        "tasks.metrics",
        "deploy.server",
        "deploy.listener",
        "deploy.workers",
        "debias.experts",
        "recipe.debias_settings",
        "debias.shortcuts",
        "debias.signals",
        "exits.policies",
        "exits.calibration",
        "exits.drift",
        "exits.savings",
        "deploy.runtime",
        "stages.prepare",
    ],
)
def test_light_rooms_do_not_load_torch(module: str) -> None:
    """Help, plans, text and reports work without torch and transformers."""
    code = f"import sys, bertwright.{module}; sys.exit(sum(m in sys.modules for m in ('torch', 'transformers')))"
    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode


def test_package_folders_import_nothing() -> None:
    """The ``__init__`` file of a room holds a docstring and nothing else."""
    for path in SOURCE.glob("*/__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert all(isinstance(node, ast.Expr) for node in body), path


def without_torch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Give a command with a recipe of a small text, as on a machine that has neither torch nor transformers."""
    notes = [f"the ward of nurse number {n} was full before the morning came" for n in range(200)]
    (folder / "t.txt").write_text("\n\n".join(notes))
    (folder / "r.yaml").write_text(
        "prepare: {sources: [t.txt], row_length: 16}\ntokenizer: {vocabulary: 64}\n"
        "pretrain: {budget: 2 steps}\nencoder: {size: tiny}\n"
    )
    code = (
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'transformers'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Without())\n"
        "from bertwright.cli.main import call\n"
        "sys.exit(call(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_a_command_that_lacks_its_extra_says_what_brings_it(tmp_path: Path) -> None:
    """Without torch a training is refused with the line that installs it, and no traceback."""
    done = without_torch(tmp_path, "pretrain", "r.yaml")
    assert 2 == done.returncode
    assert 'torch, which is not installed here; `pip install "bertwright[train]"` brings it' in done.stderr
    assert "Traceback" not in done.stderr


def test_text_is_prepared_without_torch(tmp_path: Path) -> None:
    """Tokenizer, rows, forecast and report come from the plain installation."""
    done = without_torch(tmp_path, "prepare", "r.yaml")
    assert 0 == done.returncode, done.stderr
    assert (tmp_path / "bertwright-store" / "runs" / "r" / "report.html").exists()
