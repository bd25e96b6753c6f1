"""No code from data: the source makes no call that could run what a file or a network holds."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "bertwright"
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "code", "codeop"}
BARE = {"eval", "exec", "compile", "__import__", "breakpoint"}
DOTTED = {
    *(
        "torch.load",
        "torch.hub.load",
        "torch.jit.load",
        "torch.save",
        "yaml.load",
        "yaml.unsafe_load",
        "yaml.full_load",
    ),
    *("yaml.load_all", "os.system", "os.popen", "numpy.load", "tarfile.open", "shutil.unpack_archive"),
    *("xml.etree.ElementTree.parse", "pd.read_pickle", "zipfile.ZipFile.extractall", "urllib.request.urlopen"),
}
# Modules whose name is made at run time come from bertwright, or from what the user names in `system.trackers`.
IMPORTED = ("bertwright.", "accelerate", "mlflow")


def dotted(node: ast.expr) -> str:
    """Return a call's name as it is written."""
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def unsafe(source: str) -> list[str]:
    """Return what a source does that could run foreign code, or reach out."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"imports {name}" for name in names if name.partition(".")[0] in MODULES]
        if not isinstance(node, ast.Call):
            continue
        name, given = dotted(node.func), {word.arg: word.value for word in node.keywords}
        last = name.rpartition(".")[2]
        if name in BARE | DOTTED or last in ("extractall", "extract"):
            found.append(f"calls {name}")
        if name == "np.load" and ast.unparse(given.get("allow_pickle", ast.Constant(False))) != "False":
            found.append("np.load with allow_pickle")
        if "trust_remote_code" in given or ("shell" in given and ast.unparse(given["shell"]) != "False"):
            found.append(f"{name} with {sorted(given)}")
        if last == "from_pretrained" and ast.unparse(given.get("local_files_only", ast.Constant(None))) != "True":
            found.append(f"{name} without local_files_only")
        if name == "importlib.import_module" and not ast.unparse(node.args[0]).lstrip("f").strip("'\"").startswith(
            IMPORTED
        ):
            found.append(f"imports {ast.unparse(node.args[0])}")
    return found


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(SOURCE)) for path in FILES])
def test_a_file_runs_nothing_foreign(path: Path) -> None:
    """No pickle, no evaluation, no shell, no remote code; models are read from this machine alone."""
    known = {"processes.py": ["imports module"]}  # a stage's own function, which the parent process names
    assert known.get(path.name, []) == unsafe(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        *(
            "import pickle",
            "from joblib import load",
            "eval(text)",
            "torch.load(path)",
            "yaml.load(text)",
            "os.system(x)",
        ),
        *("np.load(path, allow_pickle=True)", "AutoModel.from_pretrained(name)", "subprocess.run(x, shell=True)"),
        *("load(x, trust_remote_code=True)", "archive.extractall(folder)", "importlib.import_module(name)"),
    ],
)
def test_the_rule_sees_unsafe_calls(source: str) -> None:
    """Each of these would be found."""
    assert 1 == len(unsafe(source))


def test_a_template_from_a_file_is_our_own() -> None:
    """The one template that is rendered lies in the package, and escapes all that is filled in."""
    uses = [path.name for path in FILES if "jinja2" in path.read_text(encoding="utf-8")]
    assert ["rendering.py"] == uses
    assert "autoescape=True" in (SOURCE / "reports" / "rendering.py").read_text(encoding="utf-8")
