"""Neural networks as pure functions of a parameter pytree.

A network is `mlp(sizes, activation)` or any `Network(init, apply)`; `fit` trains it as one pure function; `ensemble`
and `spread` train thousands in one compiled program. On it stands the laboratory, `jaxnn.lab`: a question in, an answer
out.
"""

from jaxnn.activations import ACTIVATIONS, Activation, maxout, parametric
from jaxnn.activations import get as get_activation
from jaxnn.data import (
    DATASETS,
    Dataset,
    Source,
    Split,
    blobs,
    boolean_function,
    circles,
    gate,
    get_dataset,
    load_csv,
    moons,
    noisy_xor,
    sklearn_dataset,
    spirals,
    split,
    standardize,
    truth_table,
    xor,
)
from jaxnn.ensembles import ensemble, spread
from jaxnn.heads import HEADS, Head, entmax, temperature
from jaxnn.heads import get as get_head
from jaxnn.initializers import INITIALIZERS, Initializer, draw_weight, get_initializer
from jaxnn.labels import weighted_mean
from jaxnn.losses import (
    with_focal_loss,
    with_hinge_loss,
    with_label_smoothing,
    with_perceptron_loss,
    with_poly_loss,
    with_squared_loss,
)
from jaxnn.metrics import METRICS, Metric
from jaxnn.metrics import get as get_metric
from jaxnn.networks import MLP, Layer, Trace, collapse, count_parameters, mlp
from jaxnn.propagation import ActivationFacts, activation_facts, correlation_map, length_map
from jaxnn.training import History, Network, Run, fit, row_order, train_step

__version__ = "0.1.0"
