"""README shows what its commands print: its console blocks are run, one after the other, in a new project.

`make docs` puts what they print now in place of what it shows.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests.support.fork_server import ForkServer, workflow_in
from tests.support.transcripts import is_shown, transcripts

PROJECT = Path(__file__).parents[2]
README = PROJECT / "README.md"

#: What its commands read, which a clone has.
EXAMPLE = "docs/houses.csv"

#: Asked for when this module is imported: the session's server hides such variables from what is tested.
REFRESH = bool(os.environ.get("WORKFLOW_DOCS"))


def test_its_commands_print_what_it_shows(forked: ForkServer, tmp_path: Path) -> None:
    document = README.read_text()
    (tmp_path / EXAMPLE).parent.mkdir()
    shutil.copy(PROJECT / EXAMPLE, tmp_path / EXAMPLE)
    found, wrong = transcripts(document), []
    assert found
    for transcript in found:
        printed = []
        for words, lines in transcript.commands():
            done = forked(workflow_in, str(tmp_path), *words, home=tmp_path)
            assert done.returncode == 0, f"line {transcript.line}: {done.stderr}"
            printed.append(done.stdout.splitlines())
            if not is_shown(printed[-1], lines):
                wrong.append(f"line {transcript.line} does not show what {words} printed:\n{done.stdout}")
        document = document.replace(transcript.text, transcript.renewed(printed), 1)
    if REFRESH:
        README.write_text(document)
    else:
        assert not wrong, "\n\n".join([*wrong, "`make docs` mends it"])


SHOWN = """\
train line
  train     Completed   1.32 s  forced
run         line-20261123-211822
…
Prefect UI  http://127.0.0.1:4200/open#workflow:zGk…
"""

PRINTED = """\
train line
  train     Completed   0.97 s  forced
run         line-20270101-000000-2
checkpoint  somewhere
report      somewhere else
Prefect UI  http://127.0.0.1:4750/open
"""


def test_what_differs_from_run_to_run_need_not_be_the_same() -> None:
    assert is_shown(PRINTED.splitlines(), SHOWN.splitlines())


@pytest.mark.parametrize(
    ("before", "after"),
    [("Completed", "Cached"), ("forced", "unchanged"), ("train line\n", ""), ("Prefect UI", "more\nPrefect UI")],
)
def test_all_else_must_be(before: str, after: str) -> None:
    printed = PRINTED.replace("checkpoint  somewhere\nreport      somewhere else\n", "")
    shown = SHOWN.replace("…\n", "").splitlines()
    assert is_shown(printed.splitlines(), shown)
    assert not is_shown(printed.replace(before, after, 1).splitlines(), shown)


def test_a_block_is_run_unless_it_says_why_not() -> None:
    block = "```console\n$ workflow runs\nnone\n```\n"
    found = transcripts(f"# A\n{block}<!-- not run: it takes hours -->\n{block}\n{block}")
    assert [each.line for each in found] == [3, 13]
    with pytest.raises(ValueError, match="'rm -r x' is no command of ours"):
        list(transcripts(block.replace("workflow runs", "rm -r x"))[0].commands())
