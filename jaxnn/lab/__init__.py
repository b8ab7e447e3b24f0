"""The laboratory: a question in, an answer out. It stands on the library, which never imports it.

Task --splits--> rows    Task + Recipe --plan--> trials --sweep--> table --judge--> answer --> words | page | folder
"""

from jaxnn.lab.comparison import Comparison, Settings
from jaxnn.lab.devices import use_all_cores
from jaxnn.lab.folds import Parts, Splits, splits, stack
from jaxnn.lab.laboratory import Answer, compare, load
from jaxnn.lab.model import Model
from jaxnn.lab.plan import Group, Plan, Trial, grid, sample
from jaxnn.lab.recipe import Built, Recipe
from jaxnn.lab.sweeps import Table, outcome, replay, sweep
from jaxnn.lab.tasks import Task, task
