"""Trainings, verifications, collections and repairs that work at once in one store, and are killed at random instants.

They are killed all together, as when a machine loses its power, or one by one while the others go on.
"""

from pathlib import Path

import pytest

from tests.support.baseline_store import COLLECT, REPAIR, BaselineStore, Words, age, make_baseline_store
from tests.support.fork_server import ForkServer
from tests.support.kill_campaign import Campaign

pytestmark = pytest.mark.usefixtures("prefect")

#: Crowds in a store before another one is taken.
CROWDS = 3


@pytest.fixture(scope="module")
def stock(forked: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> BaselineStore:
    return make_baseline_store(forked, tmp_path_factory.mktemp("stock"))


def draw_crowd(campaign: Campaign) -> list[Words]:
    """Two equal trainings, another one, and some of the rest."""
    training = campaign.draw_training()
    others = [campaign.draw_verification(), COLLECT, COLLECT, REPAIR]
    return [training, training, campaign.draw_training(), *campaign.draw.sample(others, 2)]


@pytest.mark.long
@pytest.mark.parametrize("together", [True, False], ids=["together", "one by one"])
@pytest.mark.parametrize("seed", range(2))
def test_killed_in_crowds(forked: ForkServer, stock: BaselineStore, tmp_path: Path, seed: int, together: bool) -> None:
    with Campaign(forked, stock, tmp_path, seed) as campaign:
        while campaign.kills.total() < 25:
            campaign.begin()
            for _ in range(CROWDS):
                age(campaign.home)
                campaign.kill_crowd(draw_crowd(campaign), together=together)
                campaign.require_sound()
            campaign.require_end()


@pytest.mark.long
def test_killed_in_crowds_while_the_store_is_damaged(forked: ForkServer, stock: BaselineStore, tmp_path: Path) -> None:
    with Campaign(forked, stock, tmp_path, 0) as campaign:
        while campaign.kills.total() < 30:
            campaign.begin()
            for _ in range(CROWDS):
                campaign.damage()
                crowd = [REPAIR, REPAIR, campaign.draw_training(), campaign.draw_verification()]
                campaign.kill_crowd(crowd, together=campaign.draw.random() < 0.5, may_fail=True)
                campaign.heal()
            campaign.require_end()
