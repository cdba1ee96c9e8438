import pytest
from pydantic import BaseModel, Field

from tasks.caching.key import code_on_disk
from tasks.generate import generate
from tasks.learning.config.bounds import Float32
from tasks.learning.config.descriptions import describe_deployed, full_description
from tasks.learning.config.experiment import Experiment
from tasks.learning.config.model import Model
from tasks.learning.config.training import Training
from tasks.split import split
from tasks.train import train


class Settings(BaseModel):
    both: int = Field(100, ge=1, le=10_000, description="Passes over the rows.")
    open_ended: float = Field(0.5, gt=0, lt=1, description="Fraction.")
    optional: int | None = Field(None, ge=1, description="Rows; all of them when not given.")
    inside: Float32 | None = Field(None, description="Start.")
    plain: bool = Field(True, description="Whether.")
    required: str = Field(description="Name.")
    bare: float = 1e-9


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("both", "Passes over the rows. At least 1, at most 10,000; default 100."),
        ("open_ended", "Fraction. Above 0, below 1; default 0.5."),
        ("optional", "Rows; all of them when not given. At least 1; not given by default."),
        ("inside", "Start. At least -3.40282e+38, at most 3.40282e+38; not given by default."),
        ("plain", "Whether. Default true."),
        ("required", "Name. Required."),
        ("bare", "Default 1e-09."),
    ],
)
def test_a_description_says_what_is_allowed_and_what_is_the_default(field, text):
    assert full_description(Settings.model_fields[field]) == text


SECTIONS = Experiment.model_json_schema()["$defs"]


def test_the_form_shows_the_same_descriptions():
    properties = SECTIONS["Training"]["properties"]
    assert properties["epochs"]["description"].endswith("At least 1, at most 10,000,000; default 100.")
    for name, info in Training.model_fields.items():
        if name != "device":
            assert properties[name]["description"] == full_description(info)


def test_the_form_of_a_deployment_states_what_it_has():
    schema = Experiment.model_json_schema()
    definitions = schema["$defs"] | {"Experiment": schema}
    experiment = Experiment.model_validate({"name": "own", "training": {"epochs": 500}, "data": {"weight": 1.5}})
    describe_deployed(definitions, experiment)
    assert definitions["Training"]["properties"]["epochs"]["description"].endswith("10,000,000; default 500.")
    assert definitions["Training"]["properties"]["seed"] == SECTIONS["Training"]["properties"]["seed"]
    assert "Default own." in schema["properties"]["name"]["description"]
    data = type(experiment.data).__name__
    assert definitions[data]["properties"]["weight"]["description"].endswith("Default 1.5.")


@pytest.mark.parametrize(
    ("section", "name"), [(section, name) for section in SECTIONS for name in SECTIONS[section]["properties"]]
)
def test_every_field_of_the_form_states_its_default_and_its_bounds(section, name):
    field = SECTIONS[section]["properties"][name]
    required = name in SECTIONS[section].get("required", ())
    assert ("required" if required else "default") in field["description"].lower()
    for kind in (field, *field.get("anyOf", ())):
        for keyword, words in KEYWORDS.items():
            if keyword in kind:
                assert words in field["description"]


KEYWORDS = {"minimum": "t least ", "maximum": "t most ", "exclusiveMinimum": "bove ", "exclusiveMaximum": "below "}


def test_the_device_is_asked_for_once_and_held_to_its_pattern():
    assert "device" not in SECTIONS["Training"]["properties"]
    assert SECTIONS["Training"]["patternProperties"]["^device$"]["pattern"].startswith("^(auto|")
    assert SECTIONS["Training"]["additionalProperties"] is False
    assert "patternProperties" not in Model.model_json_schema()


def test_fields_that_belong_together_stand_together():
    properties = SECTIONS["Training"]["properties"]
    shown = sorted(properties, key=lambda name: properties[name].get("position", 0))
    assert shown.index("epochs") < shown.index("schedule") < shown.index("patience") < shown.index("threads")
    assert shown[-3:] == ["checkpoint_every", "placement", "threads"]
    assert properties["step_factor"]["title"] == "Learning Rate: Step Factor"


@pytest.mark.parametrize("stage", [generate, split, train], ids=lambda stage: stage.name)
def test_what_only_describes_or_refuses_settings_is_in_no_key(stage):
    code = {place.removeprefix("code ") for place in code_on_disk(stage)}
    assert {place for place in code if place.startswith("tasks/learning/config/descriptions.py")} == {
        "tasks/learning/config/descriptions.py: imports"
    }
    assert "tasks/learning/config/section.py: unrounded" not in code
