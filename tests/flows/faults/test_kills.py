"""Trainings, verifications, collections and repairs that are killed at random instants, one after the other.

After each kill nothing in the store is damaged or missing, and nothing is gone that was to stay; now and then a
training and its verification end with the very digests of undisturbed ones. What a power cut may take is not shown:
what a killed process has written outlives it, synced or not.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.baseline_store import COLLECT, LINE, REPAIR, BaselineStore, age, make_baseline_store
from tests.support.fork_server import ForkServer
from tests.support.kill_campaign import Campaign

pytestmark = pytest.mark.usefixtures("prefect")


@pytest.fixture(scope="module")
def stock(forked: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> BaselineStore:
    return make_baseline_store(forked, tmp_path_factory.mktemp("stock"))


def kill_training(campaign: Campaign) -> None:
    campaign.kill(campaign.draw_training())


def kill_verification(campaign: Campaign) -> None:
    campaign.kill(campaign.draw_verification())


def kill_collection(campaign: Campaign) -> None:
    age(campaign.home)
    campaign.kill(COLLECT)


def kill_repair(campaign: Campaign) -> None:
    """Kills one repair after the other of a store that was damaged, before one is let end."""
    campaign.damage()
    for _ in range(campaign.draw.randint(1, 3)):
        campaign.kill(REPAIR)
    campaign.heal()


COMMANDS: dict[Callable[[Campaign], None], int] = {
    kill_training: 4,
    kill_verification: 2,
    kill_collection: 2,
    kill_repair: 2,
}


def kill_one_after_the_other(campaign: Campaign, kills: int) -> None:
    """Kills commands in a store, and looks at it after each; then lets a training and its verification end."""
    for kill in campaign.draw.choices(list(COMMANDS), list(COMMANDS.values()), k=kills):
        kill(campaign)
        campaign.require_sound()
    campaign.require_end()


def test_a_few_kills(forked: ForkServer, tmp_path: Path) -> None:
    with Campaign(forked, make_baseline_store(forked, tmp_path, [LINE], []), tmp_path, 0) as campaign:
        campaign.begin()
        kill_one_after_the_other(campaign, 8)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_killed_one_after_the_other(forked: ForkServer, stock: BaselineStore, tmp_path: Path, seed: int) -> None:
    with Campaign(forked, stock, tmp_path, seed) as campaign:
        while campaign.kills.total() < 35:
            campaign.begin()
            kill_one_after_the_other(campaign, 10)


@pytest.mark.long
def test_a_new_project_that_is_killed_again_and_again(forked: ForkServer, stock: BaselineStore, tmp_path: Path) -> None:
    with Campaign(forked, stock, tmp_path, 3) as campaign:
        while campaign.kills.total() < 30:
            campaign.begin(empty=True)
            for _ in range(10):
                kill_training(campaign)
                campaign.require_sound()
            campaign.require_end()


@pytest.mark.long
def test_collections_that_find_much_to_remove(forked: ForkServer, stock: BaselineStore, tmp_path: Path) -> None:
    with Campaign(forked, stock, tmp_path, 4) as campaign:
        while campaign.kills.total() < 50:
            campaign.begin()
            kill_collection(campaign)
            campaign.require_sound()
            if campaign.draw.random() < 0.1:
                campaign.require_end()
