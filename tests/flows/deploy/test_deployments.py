"""prefect.yaml has the same deployments as `workflow serve`."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from flows.deploy.deployments import POOL, experiments_to_deploy, make_deployments
from flows.errors import InputError
from tests.flows.cli.test_app import Command
from tests.flows.conftest import PROJECT


@pytest.fixture
def nightly(tmp_path: Path) -> str:
    """An experiment with a schedule."""
    file = tmp_path / "nightly.toml"
    file.write_text("[schedule]\ncron = '30 3 * * *'\ntimezone = 'Europe/Berlin'\nif_running = 'cancel'\n")
    return str(file)


def read_yaml(text: str) -> dict[str, Any]:
    """Returns the deployments in a prefect.yaml by name."""
    from ruamel.yaml import YAML

    return {found["name"]: found for found in YAML(typ="safe").load(text)["deployments"]}


def test_the_file_is_what_the_command_prints(command: Command) -> None:
    assert command("deployments") == (0, (PROJECT / "prefect.yaml").read_text(), "")


def test_both_have_the_same_deployments(command: Command, nightly: str) -> None:
    described = read_yaml(command("deployments", nightly)[1])
    served = {found.name: found for found in asyncio.run(make_deployments(experiments_to_deploy([nightly]), "0123"))}
    assert list(described) == list(served)
    for name, found in described.items():
        assert found["parameters"] == served[name].parameters
        assert found["description"] == served[name].description
        assert found["work_pool"]["name"] == POOL
        module, _, function = found["entrypoint"].partition(":")
        assert served[name].entrypoint == f"{module.removesuffix('.py').replace('/', '.')}.{function}"
    (schedule,) = served["nightly"].schedules
    assert described["nightly"]["schedules"] == [{"cron": "30 3 * * *", "timezone": "Europe/Berlin"}]
    assert (schedule.schedule.cron, schedule.schedule.timezone) == ("30 3 * * *", "Europe/Berlin")
    assert described["nightly"]["parameters"]["if_running"] == "cancel"
    assert described["each-run"]["triggers"][0]["parameters"] == {
        "run": "{{ event.payload.run }}",
        "store": "{{ event.payload.store }}",
    }


@pytest.mark.usefixtures("prefect")
def test_each_form_shows_the_defaults_of_its_deployment(nightly: str, tmp_path: Path) -> None:
    """And not the defaults of another one or of the class."""
    Path(nightly).write_text("[training]\nepochs = 512\n")
    served = {found.name: found for found in asyncio.run(make_deployments(experiments_to_deploy([nightly]), "0123"))}
    for name, epochs in (("nightly", 512), ("line", 180)):
        properties = served[name]._parameter_openapi_schema.definitions["Training"]["properties"]
        assert properties["epochs"]["description"].endswith(f"default {epochs}.")


def test_two_experiments_with_one_name_are_rejected(nightly: str) -> None:
    with pytest.raises(InputError, match="two experiments are named nightly"):
        experiments_to_deploy([nightly, nightly])
