"""What the documents name exists: functions, files, links, and the imports that docs/ARCHITECTURE.md shows."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_architecture import any_imports, modules

PROJECT = Path(__file__).parents[1]
ARCHITECTURE = PROJECT / "docs/ARCHITECTURE.md"
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), PROJECT / "tests/TESTING.md"])

#: A reference such as `flows/train.py: pipeline`.
REFERENCE = re.compile(r"`(?P<path>[\w/]+\.py):\s+(?P<name>[\w.]+)`")

#: A relative link.
LINK = re.compile(r"\]\((?P<target>[^)#:]+)(?:#(?P<anchor>[^)]+))?\)")

#: A block that lists the contents of a package in layers; each imports only from those below.
LAYERS = re.compile(r"^```\n(?P<package>[\w/]+)/\n(?P<lines>(?:  .+\n)+)```$", re.MULTILINE)


def definitions(tree: ast.AST, prefix: str = "") -> Iterator[str]:
    """The functions and classes of a syntax tree, and the methods of its classes."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from definitions(node, f"{prefix}{node.name}.")


def dangling_references(page: str) -> list[str]:
    """The references in a page to functions that do not exist."""
    return [
        found[0]
        for found in REFERENCE.finditer(page)
        if not (PROJECT / found["path"]).is_file()
        or found["name"] not in definitions(ast.parse((PROJECT / found["path"]).read_bytes()))
    ]


def headings(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in found}


def broken_links(page: str, folder: Path) -> list[str]:
    """The relative links in a page whose file or heading does not exist."""
    broken = []
    for link in LINK.finditer(page):
        target = folder / link["target"]
        if not target.exists() or (link["anchor"] and link["anchor"] not in headings(target)):
            broken.append(link[0])
    return broken


@functools.cache
def project_modules() -> dict[str, Path]:
    return modules(PROJECT)


@functools.cache
def project_imports() -> list[tuple[str, str]]:
    return [(module, imported) for module in project_modules() for imported in any_imports(module, PROJECT)]


def against_layers(page: str) -> list[str]:
    """The imports that contradict the layers in a page, and the modules that they leave out."""
    wrong = []
    for block in LAYERS.finditer(page):
        prefix = block["package"].replace("/", ".") + "."
        layers = {name: depth for depth, line in enumerate(block["lines"].splitlines()) for name in line.split()}
        inside = {name.removeprefix(prefix).split(".")[0] for name in project_modules() if name.startswith(prefix)}
        wrong += [f"{prefix}{name} is missing" for name in sorted(inside - layers.keys())]
        wrong += [f"{prefix}{name} does not exist" for name in sorted(layers.keys() - inside)]
        for module, imported in project_imports():
            if module.startswith(prefix) and imported.startswith(prefix):
                ours, theirs = (name.removeprefix(prefix).split(".")[0] for name in (module, imported))
                if ours != theirs and layers.get(ours, -1) >= layers.get(theirs, len(layers)):
                    wrong.append(f"{module} imports {imported}")
    return wrong


def tree_paths(page: str) -> list[str]:
    """The files and folders in the tree of README's section on the project layout."""
    block = page.split("## Project layout")[1].split("```")[1]
    paths, folders = [], [""]
    for line in block.strip().splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names = [name for part in re.split(r" {4,}", line.strip()) for name in named_paths(part)]
        paths += ["".join(folders[: depth + 1]) + name for name in names]
        if names and names[-1].endswith("/"):  # a description may have a second line
            folders[depth + 1 :] = [names[-1]]
    return paths


def named_paths(part: str) -> list[str]:
    """The names that a part of a line in the tree starts with; none if it starts with a description."""
    names = []
    for word in part.split():
        if not re.fullmatch(r"[\w-]+(/|\.py)", word):
            break
        names.append(word)
    return names


def test_every_function_that_the_architecture_names_exists() -> None:
    page = ARCHITECTURE.read_text("utf-8")
    assert len(REFERENCE.findall(page)) >= 20
    assert dangling_references(page) == []


@pytest.mark.parametrize(
    "reference",
    ["`flows/train.py: pipelines`", "`flows/trains.py: pipeline`", "`tasks/caching/stage.py: StageContext.publishes`"],
)
def test_one_that_does_not_exist_is_found(reference: str) -> None:
    assert dangling_references(f"See {reference} and `flows/train.py: pipeline`.") == [reference]


def test_imports_are_as_the_architecture_shows() -> None:
    page = ARCHITECTURE.read_text("utf-8")
    assert len(LAYERS.findall(page)) == 3
    assert against_layers(page) == []


@pytest.mark.parametrize(
    ("before", "after", "wrong"),
    [
        (
            "  config\n  train  verify  signals\n",
            "  train  verify  signals\n  config\n",
            "flows.config.schedule imports flows.train",
        ),
        ("  errors  prefect_internals\n", "  prefect_internals\n", "flows.errors is missing"),
        ("  cli\n", "  cli  gone\n", "flows.gone does not exist"),
    ],
)
def test_imports_that_are_not_are_found(before: str, after: str, wrong: str) -> None:
    page = ARCHITECTURE.read_text("utf-8")
    assert before in page
    assert wrong in against_layers(page.replace(before, after))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_somewhere(document: Path) -> None:
    assert broken_links(document.read_text("utf-8"), document.parent) == []


def test_links_that_do_not_are_found() -> None:
    page = "[a](docs/NONE.md) [b](docs/SECURITY.md#none) [c](docs/SECURITY.md#sign-a-run) [d](https://example.org/x)"
    assert broken_links(page, PROJECT) == ["](docs/NONE.md)", "](docs/SECURITY.md#none)"]


def test_the_tree_in_the_readme_is_that_of_the_project() -> None:
    paths = tree_paths((PROJECT / "README.md").read_text("utf-8"))
    assert {"flows/train.py", "tasks/caching/storage/", "artifacts/"} <= set(paths)
    assert [path for path in paths if not (PROJECT / path).exists()] == []
    listed = {path.removesuffix("/") for path in paths}
    packages = {path.parent.relative_to(PROJECT) for path in project_modules().values() if path.name == "__init__.py"}
    assert {str(package) for package in packages if len(package.parts) <= 2} <= listed
