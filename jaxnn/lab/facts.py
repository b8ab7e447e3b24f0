"""What is known of an activation, in words."""

import math

from jaxnn import activations
from jaxnn.propagation import activation_facts


def facts(record) -> dict[str, str]:
    """What is known of an activation: of a callable of one's own what can be computed.

    Args:
      record: an `Activation`, a name, or any callable.

    Returns:
      Text by name, without what is not known.

    >>> facts("relu")["kinks"], facts("relu")["gain"]
    ('0 (derivative there 0)', '1.414213562')
    """
    record = activations.get(record)
    smooth = {None: "", math.inf: "C∞", -1: "jumps"}.get(record.smoothness, f"C{record.smoothness}")
    found = {
        "formula": record.formula,
        "source": record.source,
        "range": str(record.range or ""),
        "monotone": {None: "", True: "yes", False: "no"}[record.monotone],
        "smoothness": smooth,
        "kinks": ", ".join(f"{at:g} (derivative there {slope:g})" for at, slope in record.kinks),
        "parameters": ", ".join(f"{name}, at first {value:.4g}" for name, value in record.params),
        "constants": ", ".join(f"{name} = {value:g}" for name, value in record.constants.items()),
        "draws random numbers": "in training" if record.random else "",
        "cannot be trained": record.untrainable,
        "aliases": ", ".join(record.aliases),
        "gain": "" if record.gain is None else f"{record.gain:.10g}",
    }
    if record.inputs == record.outputs == 1 and not record.random:
        computed = activation_facts(record)
        weight, bias = computed.edge
        found |= {
            "gain": f"{computed.gain:.10g}",
            "backward gain": f"{computed.backward_gain:.10g}",
            "χ₁ at its gain": f"{computed.chi_1:.10g}",
            "V′(1) at its gain": f"{computed.stability:.6g}",
            "edge of chaos at q = 1": f"σ_w² = {weight:.6g}, σ_b² = {bias:.6g}",
        }
    return {name: text for name, text in found.items() if text and "nan" not in text}
