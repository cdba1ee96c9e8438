"""Files of TOML that would take gigabytes or minutes are refused before the parser sees them, and no others."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from flows.config.experiments import PRESETS, load_experiment
from flows.config.toml_file import MOST_BYTES, MOST_LEVELS, ExcessError, read_toml
from flows.environment.settings import ServerError, named_api

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.toml"


def dotted(parts: int, *names: str) -> str:
    """A dotted key of so many parts."""
    return ".".join((names * parts)[:parts])


LONG = dotted(1000, "a")


@pytest.mark.parametrize(
    "text",
    [
        f"{dotted(40_000, 'a')} = 1",
        f"[{LONG}]",
        f"[[{LONG}]]",
        f"x = {{{LONG} = 1}}",
        f"x = [1, {{{LONG} = 1}}]",
        f"{dotted(1000, 'a ', ' b')} = 1",
        dotted(1000, '"a.b"', "'c'", "d") + " = 1",
        f"x = '#'\n{LONG} = 1",
        f'x = """\n\\"""\n"""\n{LONG} = 1',
        f"x = '''a''''\n{LONG} = 1",
        f'x = "\\""\n{LONG} = 1',
        f"{dotted(MOST_LEVELS + 1, 'a')} = 1",
        f"x = {'[' * (MOST_LEVELS + 1)}{']' * (MOST_LEVELS + 1)}",
        f"x = {'{x = ' * 400}1{'}' * 400}",
        f"[{dotted(10, 'a')}]\n{dotted(10, 'a')} = 1",
        "x = " + "[" * 500_000,
        "#" * (MOST_BYTES + 1),
    ],
    ids=lambda text: text[:20],
)
def test_excess_is_refused(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ExcessError, match=r"nested too deeply|more than 1,000,000 bytes"):
        read_toml(file)


@pytest.mark.parametrize(
    "before",
    [
        "",
        'x = ["""a"""", """b"""]',
        "x = ['''a'''', '''b''']",
        "x = '''a''''",
        'x = "\\""',
        'x = """a"""" # \\',
        "x = '''a'''' # \\",
        'x = 1 # "\\',
        "x = 'a\\'",
    ],
)
def test_a_long_key_is_refused_before_the_parser_sees_it(
    file: Path, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which takes memory by the square of its length."""
    monkeypatch.setattr(tomllib, "loads", pytest.fail)
    file.write_text(f"{before}\n{LONG} = 1")
    with pytest.raises(ExcessError, match="nested too deeply"):
        read_toml(file)


@pytest.mark.parametrize(
    "text",
    [
        f"# {LONG}\nx = 1",
        f"x = '{LONG}'",
        f'x = "{LONG} \\" {LONG}" # {LONG}',
        f"x = '''\n{LONG}\n'\n{LONG}'''",
        f'x = """\n{LONG}\n"\n\\"""{LONG}"""',
        f"x = [{', '.join(['1.5'] * 1000)}]",
        f"x = ['{LONG}', \"{LONG}\"]",
        f"{dotted(MOST_LEVELS, 'a')} = 1",
        f"x = {'[' * MOST_LEVELS}{']' * MOST_LEVELS}",
        "x = {}\ny = [[]]\n" + "#" * (MOST_BYTES - 20),
        "",
    ],
    ids=lambda text: text[:20],
)
def test_what_is_within_bounds_is_read(file: Path, text: str) -> None:
    file.write_text(text)
    assert read_toml(file) == tomllib.loads(text)


def test_a_mark_before_it_is_passed_over(file: Path) -> None:
    file.write_bytes(b'\xef\xbb\xbfname = "mine"\n')
    assert read_toml(file) == {"name": "mine"}


def test_so_is_that_of_an_experiment(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[data]\nnoise = 0.5\n", "utf-8-sig")
    assert load_experiment(str(path)).data.noise == 0.5


@pytest.mark.parametrize("name", ["prefect.toml", "pyproject.toml", "profiles.toml"])
def test_where_prefect_would_stumble_over_it_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / name).write_text("", "utf-8-sig")
    if name == "profiles.toml":
        monkeypatch.setenv("PREFECT_PROFILES_PATH", name)
    with pytest.raises(ServerError, match=rf"{name} could name .* cannot be read: it starts with a byte-order mark"):
        named_api(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_another_encoding_is_named(file: Path, encoding: str) -> None:
    file.write_bytes("\ufeffx = 1".encode(encoding))
    with pytest.raises(ValueError, match="it is in UTF-16: save it as UTF-8"):
        read_toml(file)


@pytest.mark.parametrize("path", [*PRESETS.glob("*.toml"), PROJECT / "pyproject.toml"], ids=lambda path: path.name)
def test_the_projects_own_files_are_read(path: Path) -> None:
    assert read_toml(path) == tomllib.loads(path.read_text())


#: What has no end where one is looked for, as often as the largest file can have it.
ENDLESS = ['"', "'", '"""', "'''", '\\"""\n', "a", "a.", "a ", "\\", "[", "{", '"\n', "'\n", "a.a,", '"a".']


@pytest.mark.parametrize("piece", ENDLESS, ids=repr)
def test_looking_takes_no_more_than_a_pass_through_the_file(file: Path, piece: str) -> None:
    """The square of its length would take hours."""
    file.write_text((piece * MOST_BYTES)[:MOST_BYTES])
    with pytest.raises(ValueError, match="."):  # noqa: RUF043 - which one is no matter
        read_toml(file)


def test_a_file_that_is_no_file_is_read_to_the_bound_alone() -> None:
    with pytest.raises(ExcessError, match="more than 1,000,000 bytes"):
        read_toml(Path("/dev/zero"))


@pytest.mark.parametrize("name", ["prefect.toml", "pyproject.toml"])
def test_so_are_the_files_that_could_name_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / name).write_text(f"{LONG} = 1")
    with pytest.raises(ServerError, match=rf"{name} could name a Prefect server but cannot be read: it is nested too"):
        named_api(tmp_path)


def test_no_file_is_an_error_of_the_system(file: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_toml(file)


def test_levels() -> None:
    from flows.config.toml_file import levels

    values: list[tuple[Any, int]] = [(1, 0), ("a", 0), ([], 1), ({}, 1), ([{}], 2), ({"a": [1, [{"b": 2}]]}, 4)]
    assert [levels(value) for value, _ in values] == [depth for _, depth in values]
