"""The stages that most tests are about: those of a line, whose rows are generated."""

from flows.train import stages_of
from tasks.learning.config.experiment import Experiment

#: In order.
STAGES = stages_of(Experiment())
