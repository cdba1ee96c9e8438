"""What may import what, read off the code itself: the modules are found, not listed."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]

#: Where a module belongs, by the longest name that it begins with, and what such a module may import of the project.
MAY_IMPORT: dict[str, set[str]] = {
    "flows": {"flows", "tasks", "tasks.learning", "tasks.caching", "tasks.errors", "tasks.limits", "tasks.relevance"},
    "tasks": {"tasks", "tasks.learning", "tasks.caching", "tasks.errors", "tasks.limits", "tasks.relevance"},
    "tasks.learning": {"tasks.learning", "tasks.errors", "tasks.limits", "tasks.relevance"},
    "tasks.caching": {"tasks.caching", "tasks.errors", "tasks.limits", "tasks.relevance"},
    "tasks.errors": set(),
    "tasks.limits": set(),
    "tasks.relevance": set(),
}

#: What a stage module must not import before its stage runs.
HEAVY = {"torch", "pandas", "matplotlib", "pyarrow", "numpy", "prefect", "jinja2"}

#: Modules and names with which data is carried out as code.
TRUSTING = {"cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "pickle", "shelve", "yaml"}
TRUSTING_NAMES = {"add_safe_globals", "allow_pickle", "read_pickle", "safe_globals"}
TRUSTING_BUILTINS = {"eval", "exec"}

#: What a package and a module may hold before they are to be split.
MOST_MODULES = 12
MOST_LINES = 350

#: The one module that touches private names of Prefect, and what those look like.
INTERNALS = "flows.prefect_internals"
PRIVATE = re.compile(r"prefect(\.\w+)*\._[a-z]\w*(\.\w+)*")

#: The private names in another module, since the cache does not import from the flows: a method that Prefect's result
#: store calls, and an attribute of our own, which pydantic wants private.
EXEMPT = {"tasks.caching.prefect_run": {"RecordFiles._resolve_path", "self._resolve_path", "self._failure"}}

SHAPELESS = {"utils", "helpers", "common", "core"}


def modules(project: Path) -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    return {
        ".".join(path.relative_to(project).with_suffix("").parts).removesuffix(".__init__"): path
        for package in ("flows", "tasks")
        for path in sorted((project / package).rglob("*.py"))
    }


def part(module: str) -> str:
    """The part of the project that a module belongs to."""
    return next(name for name in sorted(MAY_IMPORT, reverse=True) if f"{module}.".startswith(f"{name}."))


def statements(tree: ast.AST, *, at_import: bool) -> Iterator[ast.AST]:
    """The nodes of a syntax tree; with `at_import`, only what runs when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from statements(ast.Module(node.orelse, []), at_import=at_import)
        elif not (at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
            yield node
            yield from statements(node, at_import=at_import)


def imports(module: str, project: Path, *, at_import: bool = False) -> set[str]:
    """The full names that a module imports; of a name taken from a package, both that and the package."""
    path = modules(project)[module]
    package = package_of(module, path)
    nodes = statements(ast.parse(path.read_bytes(), str(path)), at_import=at_import)
    return {name for node in nodes for name in imported_names(node, package)}


def any_imports(module: str, project: Path) -> set[str]:
    """The modules of the project that a module imports anywhere, for types alone included."""
    known = modules(project)
    package = package_of(module, known[module])
    names = {name for node in ast.walk(ast.parse(known[module].read_bytes())) for name in imported_names(node, package)}
    return names & known.keys() - {module}


def package_of(module: str, path: Path) -> list[str]:
    """The package from which a module's relative imports start."""
    parts = module.split(".")
    return parts if path.name == "__init__.py" else parts[:-1]


def imported_names(node: ast.AST, package: list[str]) -> set[str]:
    """The full names that a statement imports; empty if it is none of import."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else []
        origin = ".".join([*above, *(node.module.split(".") if node.module else [])])
        return {origin, *(f"{origin}.{alias.name}" for alias in node.names)}
    return set()


def project_imports(module: str, project: Path, *, at_import: bool = False) -> set[str]:
    """The modules of the project that a module imports."""
    return imports(module, project, at_import=at_import) & modules(project).keys() - {module}


def with_packages(module: str, project: Path) -> set[str]:
    """A module and the packages that importing it runs."""
    parts = module.split(".")
    return {".".join(parts[:depth]) for depth in range(1, len(parts) + 1)} & modules(project).keys()


def libraries(module: str, project: Path, *, at_import: bool = False) -> set[str]:
    """The top-level names of everything that a module imports."""
    return {name.partition(".")[0] for name in imports(module, project, at_import=at_import)}


def against_the_stream(project: Path) -> set[str]:
    return {
        f"{module} imports {imported}"
        for module in modules(project)
        for imported in project_imports(module, project)
        if part(imported) not in MAY_IMPORT[part(module)] and imported != "tasks"
    }


def circles(project: Path) -> set[frozenset[str]]:
    """Neighbours that import each other in a circle: modules and packages of one package, at every level.

    Every import counts, wherever it stands.
    """
    found: set[frozenset[str]] = set()
    edges = {(module, imported) for module in modules(project) for imported in any_imports(module, project)}
    for depth in range(1, 1 + max(name.count(".") for name in modules(project))):
        graph: dict[str, set[str]] = {}
        for module, imported in edges:
            one, other = (name.split(".") for name in (module, imported))
            neighbour, its = one[: depth + 1], other[: depth + 1]
            if one[:depth] == other[:depth] and len(neighbour) == len(its) == depth + 1 and neighbour != its:
                graph.setdefault(".".join(neighbour), set()).add(".".join(its))
        reached = {name: reachable(name, graph) for name in graph}
        mutual = (frozenset(other for other in reached[name] if name in reached.get(other, ())) for name in graph)
        found |= {circle for circle in mutual if circle}
    return found


def declares_stage(path: Path) -> bool:
    """Whether a module is that of a stage."""
    return "\n@stage(" in path.read_text("utf-8")


def drawers(project: Path) -> dict[str, int]:
    """The packages that hold more than 12 modules beside stages, of which a flow may have any number, with how many."""
    found = [path for path in modules(project).values() if path.name != "__init__.py" and not declares_stage(path)]
    packages = Counter(path.parent for path in found)
    return {str(place.relative_to(project)): count for place, count in packages.items() if count > MOST_MODULES}


def long_modules(project: Path) -> dict[str, int]:
    """The modules of more than 350 lines, with how many."""
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in modules(project).items()}
    return {name: count for name, count in lines.items() if count > MOST_LINES}


def reachable(name: str, graph: dict[str, set[str]]) -> set[str]:
    """What a neighbour imports, and what that imports in turn."""
    found: set[str] = set()
    waiting = {name}
    while waiting:
        found |= (waiting := {other for each in waiting for other in graph.get(each, ())} - found)
    return found


def importing_prefect(package: str, project: Path) -> set[str]:
    return {
        module for module in modules(project) if part(module) == package and "prefect" in libraries(module, project)
    }


def heavy_stage_imports(project: Path) -> set[str]:
    return {
        f"{stage} imports {library}" + (f" through {module}" if module != stage else "")
        for stage in modules(project)
        if part(stage) == "tasks"
        for module in loaded_with(stage, project)
        for library in libraries(module, project, at_import=True) & HEAVY
    }


def loaded_with(module: str, project: Path) -> set[str]:
    """The modules of the project that are loaded as soon as a module is imported."""
    loaded: set[str] = set()
    waiting = with_packages(module, project)
    while waiting:
        loaded |= waiting
        imported = {name for each in waiting for name in project_imports(each, project, at_import=True)}
        waiting = {name for each in imported for name in with_packages(each, project)} - loaded
    return loaded


def shapeless(project: Path) -> set[str]:
    return {module for module in modules(project) if SHAPELESS & set(module.split("."))}


def trusting(project: Path) -> set[str]:
    """Where data could be carried out as code."""
    return {
        f"{module} has {trusted}"
        for module, path in modules(project).items()
        for trusted in (libraries(module, project) & TRUSTING) | trusted_in(ast.parse(path.read_bytes(), str(path)))
    }


def trusted_in(tree: ast.AST) -> set[str]:
    """The names in a syntax tree that carry out data, and torch.load where it does not ask for weights only."""
    nodes = list(ast.walk(tree))
    careful = {id(node.func) for node in nodes if isinstance(node, ast.Call) and is_careful(node)}
    builtins = {node.id for node in nodes if isinstance(node, ast.Name)} & TRUSTING_BUILTINS
    named = {
        getattr(node, field)
        for node in nodes
        for kind, field in ((ast.Attribute, "attr"), (ast.keyword, "arg"), (ast.alias, "name"))
        if isinstance(node, kind)
    } & TRUSTING_NAMES
    loads = {
        ast.unparse(node)
        for node in nodes
        if isinstance(node, ast.Attribute) and node.attr == "load" and id(node) not in careful
    }
    taken = {
        f"{node.module}.{alias.name}" for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    return builtins | named | {name for name in loads | taken if re.fullmatch(r"torch\b.*\.load", name)}


def is_careful(call: ast.Call) -> bool:
    """Whether a call says weights_only=True in so many words."""
    return any(given.arg == "weights_only" and ast.unparse(given.value) == "True" for given in call.keywords)


def private_names(project: Path) -> set[str]:
    """Where a private name of Prefect or of its HTTP client is imported or touched, outside the module for it."""
    return {
        f"{module} has {name}"
        for module, path in modules(project).items()
        if module != INTERNALS and (part(module) == "flows" or "prefect" in libraries(module, project))
        for name in private_names_in(ast.parse(path.read_bytes(), str(path))) | private_imports(module, project)
        if name not in EXEMPT.get(module, ())
    }


def private_imports(module: str, project: Path) -> set[str]:
    """The private modules and names of Prefect that a module imports."""
    return {name for name in imports(module, project) if PRIVATE.fullmatch(name)}


def private_names_in(tree: ast.AST) -> set[str]:
    """The private names that a syntax tree touches of objects which are not its own."""
    nodes, foreign = list(ast.walk(tree)), of_prefect(tree)
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    derived = [node for node in classes if {ast.unparse(base).split("[")[0] for base in node.bases} & foreign]
    own = {id(inner) for node in classes if node not in derived for inner in ast.walk(node) if is_of_self(inner)}
    attributes = [node for node in nodes if isinstance(node, ast.Attribute) and node.attr.startswith("_")]
    touched = {
        ast.unparse(node)
        for node in attributes
        if is_dunder_of_prefect(node) or (is_private(node.attr) and id(node) not in own)
    }
    overridden = {
        f"{node.name}.{member.name}"
        for node in derived
        for member in node.body
        if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and is_private(member.name)
    }
    asked = {
        str(node.args[1].value)
        for node in nodes
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr", "delattr")
        if isinstance(node.args[1], ast.Constant) and is_private(str(node.args[1].value))
    }
    texts = {str(node.value) for node in nodes if isinstance(node, ast.Constant)}
    return (touched - {"os._exit"}) | overridden | asked | {text for text in texts if PRIVATE.fullmatch(text)}


def is_of_self(node: ast.AST) -> bool:
    """Whether a node is an attribute of the object whose method it is in."""
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def of_prefect(tree: ast.AST) -> set[str]:
    """The names in a module that are taken from Prefect."""
    return {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "prefect"
        for alias in node.names
    }


def is_private(name: str) -> bool:
    """Whether a name is private by Python's convention."""
    return name.startswith("_") and not name.startswith("__")


def is_dunder_of_prefect(node: ast.Attribute) -> bool:
    """Whether an attribute is one of the package `prefect` that is not for others, such as where its pages are."""
    return ast.unparse(node.value) == "prefect" and node.attr.startswith("__") and node.attr != "__version__"


class TestTheProject:
    def test_imports_run_one_way(self) -> None:
        assert against_the_stream(PROJECT) == set()

    def test_nothing_imports_in_a_circle(self) -> None:
        assert circles(PROJECT) == set()

    def test_no_package_is_a_drawer(self) -> None:
        assert drawers(PROJECT) == {}

    def test_no_module_is_long(self) -> None:
        assert long_modules(PROJECT) == {}

    def test_only_one_module_of_the_cache_imports_prefect(self) -> None:
        assert importing_prefect("tasks.caching", PROJECT) == {"tasks.caching.prefect_run"}

    def test_the_learning_code_does_not_import_prefect(self) -> None:
        assert importing_prefect("tasks.learning", PROJECT) == set()

    def test_stage_modules_load_nothing_heavy(self) -> None:
        assert heavy_stage_imports(PROJECT) == set()

    def test_every_module_has_a_name_that_says_something(self) -> None:
        assert shapeless(PROJECT) == set()

    def test_no_data_is_carried_out_as_code(self) -> None:
        assert trusting(PROJECT) == set()

    def test_private_names_of_prefect_are_in_one_module(self) -> None:
        assert private_names(PROJECT) == set()
        for module, exempt in EXEMPT.items():
            assert exempt <= private_names_in(ast.parse(modules(PROJECT)[module].read_bytes())), "no longer needed"
        assert private_names_in(ast.parse((PROJECT / "flows/prefect_internals.py").read_bytes()))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("flows/train", "tasks/train", "tasks/limits", "tasks/learning/loop", "tasks/caching/key"):
        write(tmp_path, f"{name.rpartition('/')[0]}/__init__.py", "")
        write(tmp_path, f"{name}.py", "")
    return tmp_path


def write(project: Path, name: str, code: str) -> None:
    (project / name).parent.mkdir(parents=True, exist_ok=True)
    (project / name).write_text(code)


class TestTheChecks:
    """Each check finds what it looks for, in a small project made for it."""

    @pytest.mark.parametrize(
        ("module", "code", "found"),
        [
            ("tasks/train", "import flows.train", "tasks.train imports flows.train"),
            ("tasks/train", "def f():\n    from flows import train", "tasks.train imports flows.train"),
            ("tasks/learning/loop", "from ..caching import key", "tasks.learning.loop imports tasks.caching.key"),
            ("tasks/learning/loop", "from tasks import train", "tasks.learning.loop imports tasks.train"),
            ("tasks/caching/key", "from tasks.learning.loop import x", "tasks.caching.key imports tasks.learning.loop"),
            ("tasks/caching/key", "from .. import train", "tasks.caching.key imports tasks.train"),
            ("tasks/caching/key", "import flows.train as t", "tasks.caching.key imports flows.train"),
            ("tasks/limits", "from tasks.learning import loop", "tasks.limits imports tasks.learning.loop"),
            ("tasks/limits", "import tasks.train", "tasks.limits imports tasks.train"),
        ],
    )
    def test_an_import_against_the_stream_is_found(self, project: Path, module: str, code: str, found: str) -> None:
        write(project, f"{module}.py", code)
        assert found in against_the_stream(project)

    def test_imports_with_the_stream_are_not_found(self, project: Path) -> None:
        write(project, "flows/train.py", "from flows import train\nfrom tasks.train import x\nimport tasks.caching.key")
        write(project, "tasks/train.py", "from tasks.learning import loop\nfrom .caching.key import y\nimport tasks")
        write(
            project, "tasks/learning/loop.py", "from tasks.limits import x\nif TYPE_CHECKING:\n    import flows.train"
        )
        write(project, "tasks/caching/key.py", "from ..limits import x")
        assert against_the_stream(project) == set()

    def test_a_drawer_is_found(self, project: Path) -> None:
        for number in range(13):
            write(project, f"flows/drawer/m{number}.py", "")
        assert drawers(project) == {"flows/drawer": 13}

    def test_any_number_of_stages_is_no_drawer(self, project: Path) -> None:
        for number in range(13):
            write(project, f"tasks/m{number}.py", "x = 1\n@stage(Config)\ndef x(): ...")
        assert drawers(project) == {}

    def test_a_long_module_is_found(self, project: Path) -> None:
        write(project, "flows/short.py", "x = 1\n" * 350)
        write(project, "flows/long.py", "x = 1\n" * 351)
        assert long_modules(project) == {"flows.long": 351}

    @pytest.mark.parametrize(
        ("edits", "found"),
        [
            (
                {"flows/a.py": "import flows.b", "flows/b.py": "def f():\n    from flows import a"},
                {"flows.a", "flows.b"},
            ),
            (
                {"flows/a.py": "if TYPE_CHECKING:\n    from flows.b import x", "flows/b.py": "import flows.a"},
                {"flows.a", "flows.b"},
            ),
            (
                {"flows/one/a.py": "import flows.two.b", "flows/two/c.py": "from flows.one.d import x"}
                | dict.fromkeys(("flows/one/d.py", "flows/two/b.py"), ""),
                {"flows.one", "flows.two"},
            ),
            (
                {"flows/one/a.py": "from ..two import b", "flows/two/c.py": "from ..one import d"}
                | dict.fromkeys(("flows/one/d.py", "flows/two/b.py"), ""),
                {"flows.one", "flows.two"},
            ),
            (
                {"flows/a.py": "import flows.b", "flows/b.py": "import flows.c", "flows/c.py": "import flows.a"},
                {"flows.a", "flows.b", "flows.c"},
            ),
        ],
    )
    def test_a_circle_is_found_at_every_level(self, project: Path, edits: dict[str, str], found: set[str]) -> None:
        for name, code in edits.items():
            write(project, name, code)
        assert circles(project) == {frozenset(found)}

    @pytest.mark.parametrize("code", ["import prefect", "def f():\n    from prefect.client import orchestration"])
    def test_prefect_is_found_wherever_it_is_imported(self, project: Path, code: str) -> None:
        write(project, "tasks/caching/key.py", code)
        assert importing_prefect("tasks.caching", project) == {"tasks.caching.key"}
        assert importing_prefect("tasks.learning", project) == set()

    @pytest.mark.parametrize(
        ("edits", "found"),
        [
            ({"tasks/train.py": "import torch.nn"}, "tasks.train imports torch"),
            ({"tasks/train.py": "try:\n    from numpy import array\nfinally:\n    pass"}, "tasks.train imports numpy"),
            ({"tasks/train.py": "class C:\n    import jinja2"}, "tasks.train imports jinja2"),
            (
                {"tasks/train.py": "from tasks.learning.loop import fit", "tasks/learning/loop.py": "import pandas"},
                "tasks.train imports pandas through tasks.learning.loop",
            ),
            (
                {
                    "tasks/train.py": "from .caching import key",
                    "tasks/caching/key.py": "import tasks.learning.loop",
                    "tasks/learning/__init__.py": "import matplotlib",
                },
                "tasks.train imports matplotlib through tasks.learning",
            ),
            ({"tasks/__init__.py": "import prefect"}, "tasks.train imports prefect through tasks"),
        ],
    )
    def test_a_heavy_import_of_a_stage_is_found(self, project: Path, edits: dict[str, str], found: str) -> None:
        for name, code in edits.items():
            write(project, name, code)
        assert found in heavy_stage_imports(project)

    def test_a_late_or_a_light_import_is_not_found(self, project: Path) -> None:
        write(project, "tasks/train.py", "import json\ndef f():\n    import torch\n    from tasks.learning import loop")
        write(project, "tasks/learning/loop.py", "import torch")
        assert heavy_stage_imports(project) == set()

    @pytest.mark.parametrize("name", ["tasks/utils.py", "flows/helpers/x.py", "tasks/learning/common.py"])
    def test_a_name_that_says_nothing_is_found(self, project: Path, name: str) -> None:
        write(project, name, "")
        assert len(shapeless(project)) == 1

    @pytest.mark.parametrize(
        ("code", "found"),
        [
            ("import torch\ntorch.load(f)", "torch.load"),
            ("import torch\ntorch.load(f, weights_only=False)", "torch.load"),
            ("import torch\ntorch.load(f, weights_only=careful)", "torch.load"),
            ("import torch\ntorch.load(f, weights_only=True)\ntorch.load(f)", "torch.load"),
            ("import torch\nread = torch.load", "torch.load"),
            ("import torch\ntorch.jit.load(f)", "torch.jit.load"),
            ("from torch import load", "torch.load"),
            ("from torch.serialization import load as read", "torch.serialization.load"),
            ("import torch\ntorch.serialization.add_safe_globals([C])", "add_safe_globals"),
            ("def f():\n    import pickle", "pickle"),
            ("from pickle import loads", "pickle"),
            ("import numpy\nnumpy.load(f, allow_pickle=True)", "allow_pickle"),
            ("import pandas\npandas.read_pickle(f)", "read_pickle"),
            ("from pandas import read_pickle as read", "read_pickle"),
            ("eval(text)", "eval"),
        ],
    )
    def test_what_carries_out_data_is_found(self, project: Path, code: str, found: str) -> None:
        write(project, "tasks/train.py", code)
        assert trusting(project) == {f"tasks.train has {found}"}

    def test_what_only_reads_data_is_not_found(self, project: Path) -> None:
        code = "import json, pickletools, torch\njson.load(f)\ntorch.load(f, map_location=d, weights_only=True)"
        write(project, "tasks/train.py", code + "\nfrom torch import save\nnetwork.eval()")
        assert trusting(project) == set()

    @pytest.mark.parametrize(
        ("code", "found"),
        [
            ("from prefect._internal.engine import x", "prefect._internal.engine.x"),
            ("def f():\n    import prefect.runner._process_manager", "prefect.runner._process_manager"),
            ("from prefect.context import _deployment_id", "prefect.context._deployment_id"),
            ("PRELOADED = ['prefect._internal.metrics']", "prefect._internal.metrics"),
            ("runner._control_channel", "runner._control_channel"),
            ("poller._resolve_starter = f", "poller._resolve_starter"),
            ("getattr(runner, '_client')", "_client"),
            ("from prefect import Flow\nclass F(Flow):\n    def f(self):\n        self._raised", "self._raised"),
            ("from prefect import Flow\nclass F(Flow[..., int]):\n    def _run(self): ...", "F._run"),
            ("from prefect import Flow\nclass F(Flow):\n    def f(self):\n        super()._run()", "super()._run"),
            ("import prefect\nprefect.__ui_static_path__", "prefect.__ui_static_path__"),
        ],
    )
    def test_a_private_name_of_prefect_is_found(self, project: Path, code: str, found: str) -> None:
        write(project, "flows/runner.py", code)
        assert found in {name.removeprefix("flows.runner has ") for name in private_names(project)}
        write(project, "flows/runner.py", "")
        write(project, "tasks/caching/prefect_run.py", f"import prefect\n{code}")
        assert found in {name.removeprefix("tasks.caching.prefect_run has ") for name in private_names(project)}
        write(project, "tasks/caching/prefect_run.py", "")
        write(project, "flows/prefect_internals.py", code)
        assert private_names(project) == set()

    def test_what_is_not_private_or_not_of_prefect_is_not_found(self, project: Path) -> None:
        code = "import os, prefect\nfrom prefect import Flow\nos._exit(0)\nprefect.__version__\n"
        write(project, "flows/runner.py", f"{code}class Own:\n    def f(self):\n        self._mine = self._f")
        write(project, "tasks/caching/key.py", "import json\njson.decoder._x")
        write(
            project,
            "tasks/caching/prefect_run.py",
            "from prefect import Files\nclass RecordFiles(Files):\n    def _resolve_path(self): ...",
        )
        assert private_names(project) == set()
