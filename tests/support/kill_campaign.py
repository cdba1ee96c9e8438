"""Campaigns of kills: commands that are killed at random instants, alone and in crowds, and a look at what they leave.

A seed draws the commands, their settings and the instants; what exactly a kill hits is up to the machine as well.
"""

import json
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Collection, Sequence, Set
from pathlib import Path
from typing import Any, Self

from flows.runtime.zombie_runs import leases_folder
from tasks.caching.gc.inspection import inspect_store
from tasks.caching.runs.manifest import Manifest
from tasks.caching.storage.store import Store
from tests.flows.cache.test_caching import states_in
from tests.flows.conftest import STAGES, made
from tests.support.baseline_store import REPAIR, VERIFY, BaselineStore, Words, key_of, seconds_taken
from tests.support.file_damage import DAMAGES
from tests.support.fork_server import BEGUN, ENDED, PATIENCE, ForkServer, Lifetime, workflow_after
from tests.support.store_inventory import Inventory

#: Draws other campaigns than usual.
SEED = os.environ.get("KILLS_SEED", "")

#: The stages of the commands that have any.
STAGES_OF = {"train": STAGES, "verify": ("reload", "predict", "compare")}


class Campaign:
    """Kills commands in stores of its own, and looks at what they leave.

    Attributes:
        draw: draws everything.
        kills: how often a process was killed that lived, by what it was doing.
        ended: how many had ended before they were to be killed.
        home: the store at present.
    """

    def __init__(self, forked: ForkServer, stock: BaselineStore, folder: Path, seed: int) -> None:
        self.draw = random.Random(f"{seed} {SEED}")
        self.kills: Counter[str] = Counter()
        self.ended = 0
        self.home = folder / "store-0"
        self._forked, self._stock, self._folder, self._seed = forked, stock, folder, seed
        self._seconds = dict(stock.seconds)
        #: By what each command more makes all of a crowd slower; corrected on the way, as the seconds are.
        self._crowded = 0.5
        self._story: list[str] = []
        self._damaged: set[str] = set()

    def __enter__(self) -> Self:
        """If it fails, it tells how it came about; if not, what was killed."""
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        counts = "\n".join(f"{count:4} {what}" for what, count in sorted(self.kills.items()))
        reported = (
            f"{self.kills.total()} kills, {self.ended} too late; seed {self._seed}, KILLS_SEED {SEED!r}\n{counts}"
        )
        print(reported)
        if error is not None:
            error.add_note("\n  ".join([f"{reported}\nin {self.home}:", *self._story[-12:]]))

    def begin(self, *, empty: bool = False) -> None:
        """Goes on in another store: an empty one, or a copy of the stock."""
        self._damaged = set()
        shutil.rmtree(self.home, ignore_errors=True)
        self.home = self.home.with_name(f"store-{int(self.home.name.partition('-')[2]) + 1}")
        self._story = ["an empty store" if empty else "a copy of the stock"]
        if empty:
            self.home.mkdir()
        else:
            shutil.copytree(self._stock.home, self.home, symlinks=True)

    def draw_training(self) -> Words:
        """A training with settings, and stages to be forced."""
        words = self.draw.choice(list(self._stock.words.values()))
        until = self.draw.choice(["", "", "", *STAGES[2:-1]])
        reached = STAGES[: STAGES.index(until) + 1] if until else STAGES
        forced = self.draw.choice(["", "", "all", *reached])
        words += ("--refresh", forced) if forced else ()
        return words + (("--until", until) if until else ())

    def draw_verification(self) -> Words:
        """The verification of a run; a training if there is none."""
        runs = Inventory(self.home).runs
        return ("verify", self.draw.choice(runs)) if runs else self.draw_training()

    # ---- kills

    def kill(self, words: Words) -> None:
        """Kills a command at some instant of its duration; nothing that is to stay is lost."""
        before = Inventory(self.home)
        life = self._draw_life(words)
        (done,) = self._forked.together(workflow_after, (0, *words), home=self.home, lives=[life])
        after = Inventory(self.home)
        if self._was_killed(words, done, life):
            self.kills[f"{words[0]}, {activity(words, done, before.gone(after))}"] += 1
        self._learn(words, done)
        require_none(before.lost(after, [words[0]]))

    def kill_crowd(self, crowd: Sequence[Words], *, together: bool, may_fail: bool = False) -> None:
        """Kills commands that work at once, all at one instant or each at its own; nothing that is to stay is lost."""
        before = Inventory(self.home)
        slower = self._crowded * len(crowd)
        longest = max(self._seconds[words[0]] for words in crowd)
        delays = [self.draw.uniform(0, longest - self._seconds[words[0]]) * slower for words in crowd]
        lives = [self._draw_life(words, delay, slower) for delay, words in zip(delays, crowd, strict=True)]
        if together:
            lives = [Lifetime(self.draw.uniform(0, longest) * slower)] * len(crowd)
        calls = [(delay, *words) for delay, words in zip(delays, crowd, strict=True)]
        ended = self._forked.together(workflow_after, *calls, home=self.home, lives=lives)
        for words, done, life in zip(crowd, ended, lives, strict=True):
            if self._was_killed(words, done, life, may_fail=may_fail):
                self.kills[f"{words[0]}, {stage_at(words, done)}"] += 1
            if ENDED in done.stderr:
                slowed = seconds_taken(done.stderr) / self._seconds[words[0]]
                self._crowded = (self._crowded + slowed / len(crowd)) / 2
        lost = before.lost(Inventory(self.home), [words[0] for words in crowd])
        require_none(lost - self._damaged)

    def complete(self, words: Words) -> None:
        """Lets a command end."""
        done = self._forked(workflow_after, 0, *words, home=self.home)
        self._was_killed(words, done, None)
        self._learn(words, done)

    def _learn(self, words: Words, done: Any) -> None:
        """Corrects what a command takes by what one has taken: the machine may have become busier, or less so."""
        if ENDED in done.stderr:
            self._seconds[words[0]] = (self._seconds[words[0]] + seconds_taken(done.stderr)) / 2

    def _draw_life(self, words: Words, delay: float = 0.0, slower: float = 1.0) -> Lifetime:
        """When a command is killed: at any instant of its duration, or a moment after it has changed some folder."""
        took = self._seconds[words[0]] * slower
        if self.draw.random() < 0.5:
            return Lifetime(delay + self.draw.uniform(0, took))
        folder = self.home / self.draw.choice(sorted(self._stock.changes[words[0]]))
        # Mostly a short one: what goes on there may take less than a millisecond.
        moment = took * self.draw.random() ** 4
        # Where a stage is cached nothing changes.
        most = self.draw.uniform(took / 2, took) if words[0] in STAGES_OF else PATIENCE
        return Lifetime(delay + most, str(folder), moment, delay)

    def _was_killed(self, words: Words, done: Any, life: Lifetime | None, *, may_fail: bool = False) -> bool:
        """Whether a command was killed while it worked; if not, it must have ended well."""
        self._story.append(f"{' '.join(words)}: {done.returncode}{'' if life is None else f' {life}'}")
        killed = life is not None and done.returncode == -signal.SIGKILL
        # A repair says with 1 that something is missing that only a training brings back.
        codes = (0, 1, 2) if may_fail else (0, 1) if words == REPAIR else (0,)
        assert killed or done.returncode in codes, (done.returncode, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        self.ended += life is not None and not killed
        return killed and BEGUN in done.stderr

    # ---- damages

    def damage(self) -> None:
        """Does something to a few files, as `tests.support.file_damage` has it."""
        for path in self.draw.sample(sorted(Inventory(self.home).contents), self.draw.randint(1, 3)):
            kind = self.draw.choice(sorted(DAMAGES))
            DAMAGES[kind](self.home / path)
            self._damaged.add(path)
            self._story.append(f"{path}: {kind}")

    def heal(self) -> None:
        """Repairs; what is then missing in a run is made anew when that is trained again."""
        self.complete(REPAIR)
        while problems := inspect_store(Store(self.home)).problems:
            assert {problem.kind for problem in problems} == {"missing"}, problems
            run = self.home / problems[0].named_by
            self.complete(self._stock.words[key_of(run)])
            assert problems[0] not in inspect_store(Store(self.home)).problems
        self.require_sound()

    # ---- what must hold

    def require_sound(self) -> None:
        """Nothing is damaged or missing, and whatever was finished is what undisturbed trainings make."""
        require_none(inspect_store(Store(self.home)).problems)
        require_none(Inventory(self.home).dangling())
        require_none(made(self.home).items() - self._stock.made.items())

    def require_end(self) -> None:
        """A training and its verification end as undisturbed ones do, with the very same digests."""
        words = self.draw.choice(list(self._stock.words.values()))
        self.complete(words)
        self.complete(VERIFY)
        self.require_sound()
        folder = (self.home / "artifacts/runs/latest").resolve()
        assert self._stock.words[key_of(folder)] == words
        assert json.loads((folder / "verification.json").read_bytes())["passed"] is True
        assert not list(leases_folder(self.home).glob("*.lock")), "Prefect does not know of a run that was killed"
        ours = {
            f"{stage.name}/{stage.key}/{name}": entry.digest
            for stage in Manifest.read(folder).stages
            for name, entry in stage.outputs.items()
        }
        require_none(ours.items() - self._stock.made.items())


def require_none(wrong: Collection[Any]) -> None:
    """Nothing is wrong."""
    assert not wrong, "\n".join(map(str, wrong))


# ---- what a command was doing when it was killed


def activity(words: Words, done: Any, gone: Set[str]) -> str:
    """In words, as far as its output tells and what is gone."""
    if words[0] in STAGES_OF or ENDED in done.stderr:
        return stage_at(words, done)
    if not gone:
        return "looking"
    if words == REPAIR:
        return "setting aside"
    # In this order a collection removes them.
    kinds = {path.split("/")[1] if path.startswith("artifacts/") else "data" for path in gone}
    return f"removing {'artifacts' if kinds - {'records', 'runs'} else 'runs' if 'runs' in kinds else 'records'}"


def stage_at(words: Words, done: Any) -> str:
    """The stage that a training or a verification had not finished."""
    if ENDED in done.stderr:
        return "ending"
    if words[0] not in STAGES_OF:
        return "in a crowd"
    if not done.stdout:
        return "beginning"
    finished = [stage for stage, _ in states_in(done.stdout)]
    return next((stage for stage in STAGES_OF[words[0]] if stage not in finished), "telling")
