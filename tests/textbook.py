"""Textbook definitions of the activations in mpmath: of the inputs, then the trainable parameters."""

import mpmath

m = mpmath.mp


def _sigma(x):
    return 1 / (1 + m.exp(-x))


def _ramp(x, top=m.inf):
    return min(max(x, m.mpf(0)), top)


def _elu(x, alpha=1):
    return x if x > 0 else alpha * (m.exp(x) - 1)


def _gelu(x):
    return x * m.erfc(-x / m.sqrt(2)) / 2


def _softplus(x):
    return m.log1p(m.exp(x))


def _xielu(x, positive, negative):
    if x > 0:
        return _softplus(positive) * x**2 + x / 2
    return (_softplus(negative) + m.mpf(1) / 2) * (m.exp(x) - 1 - x) + x / 2


def _rational(x, a0, a1, a2, a3, b1, b2):
    return (a0 + a1 * x + a2 * x**2 + a3 * x**3) / (1 + abs(b1 * x + b2 * x**2))


def _lisht(x):
    return x * m.tanh(x)


def _laplace(x):
    return m.erfc((m.sqrt(m.mpf(1) / 2) - x) / (m.sqrt(1 / (4 * m.pi)) * m.sqrt(2))) / 2


REFERENCES = {
    "identity": lambda x: x,
    "abs": abs,
    "square": lambda x: x * x,
    "cube": lambda x: x * x * x,
    "exponential": m.exp,
    "gaussian": lambda x: m.exp(-(x**2)),
    "log_cosh": lambda x: m.log(m.cosh(x)),
    "sin": m.sin,
    "cos": m.cos,
    "snake": lambda x, alpha: x + m.sin(alpha * x) ** 2 / alpha,
    "rational": _rational,
    "hard_shrink": lambda x: x if abs(x) > 0.5 else m.mpf(0),
    "soft_shrink": lambda x: m.sign(x) * _ramp(abs(x) - 0.5),
    "tanh_shrink": lambda x: x - m.tanh(x),
    "relu": _ramp,
    "leaky_relu": lambda x: x if x > 0 else x / 100,
    "prelu": lambda x, a: x if x > 0 else a * x,
    "rrelu": lambda x: x if x > 0 else x * (m.mpf(1) / 8 + m.mpf(1) / 3) / 2,
    "relu6": lambda x: _ramp(x, 6),
    "threshold": lambda x: x if x > 1 else m.mpf(0),
    "tlu": max,
    "squared_relu": lambda x: _ramp(x) ** 2,
    "star_relu": lambda x, s, b: s * _ramp(x) ** 2 + b,
    "elu": _elu,
    "selu": lambda x: m.mpf("1.0507009873554804934193349852946") * _elu(x, m.mpf("1.6732632423543772848170429916717")),
    "celu": lambda x: max(x, 0) + min(0, m.exp(x) - 1),
    "isrlu": lambda x: x if x > 0 else x / m.sqrt(1 + x**2),
    "xielu": _xielu,
    "softplus": _softplus,
    "shifted_softplus": lambda x: _softplus(x) - m.log(2),
    "squareplus": lambda x: (x + m.sqrt(x**2 + 4)) / 2,
    "sparse_plus": lambda x: m.mpf(0) if x <= -1 else x if x >= 1 else (x + 1) ** 2 / 4,
    "sigmoid": _sigma,
    "log_sigmoid": lambda x: -_softplus(-x),
    "hard_sigmoid": lambda x: _ramp(x + 3, 6) / 6,
    "sparse_sigmoid": lambda x: _ramp((x + 1) / 2, 1),
    "laplace": _laplace,
    "tanh": m.tanh,
    "lecun_tanh": lambda x: m.mpf("1.7159") * m.tanh(2 * x / 3),
    "penalized_tanh": lambda x: m.tanh(x) if x > 0 else m.tanh(x) / 4,
    "hard_tanh": lambda x: max(m.mpf(-1), min(m.mpf(1), x)),
    "arctan": m.atan,
    "dyt": lambda x, a: m.tanh(a * x),
    "derf": lambda x, a, s: m.erf(a * x + s),
    "soft_sign": lambda x: x / (1 + abs(x)),
    "isru": lambda x: x / m.sqrt(1 + x**2),
    "step": lambda x: m.mpf(x > 0),
    "bipolar": m.sign,
    "gelu": _gelu,
    "gelu_tanh": lambda x: x * _sigma(2 * m.sqrt(2 / m.pi) * (x + m.mpf("0.044715") * x**3)),
    "quick_gelu": lambda x: x * _sigma(m.mpf("1.702") * x),
    "clipped_gelu": lambda x: max(m.mpf(-10), min(m.mpf(10), _gelu(x))),
    "silu": lambda x: x * _sigma(x),
    "swish": lambda x, beta: x * _sigma(beta * x),
    "hard_swish": lambda x: x * _ramp(x + 3, 6) / 6,
    "mish": lambda x: x * m.tanh(_softplus(x)),
    "hard_mish": lambda x: x / 2 * _ramp(x + 2, 2),
    "tanh_exp": lambda x: x * m.tanh(m.exp(min(x, 20))),  # at 20 the gate is 1 to far more digits than are asked
    "lisht": _lisht,
    "serf": lambda x: x * m.erf(_softplus(x)),
    "golu": lambda x: x * m.exp(-m.exp(-max(x, -50))),  # further down the gate is below any number
    "gcu": lambda x: x * m.cos(x),
    "sinlu": lambda x, a, b: (x + a * m.sin(b * x)) * _sigma(x),
    "glu": lambda a, b: a * _sigma(b),
    "reglu": lambda a, b: a * _ramp(b),
    "geglu": lambda a, b: a * _gelu(b),
    "swiglu": lambda a, b: a * b * _sigma(b),
    "bilinear": lambda a, b: a * b,
    "maxout": max,
    "maxout(3)": max,
    "parametric(silu)": lambda x, w: w * x * _sigma(x) + (1 - w) * x,
    "crelu": lambda x: (_ramp(x), _ramp(-x)),
}


def outputs(activation, args):
    """φ of one row, a tuple of `activation.outputs` numbers."""
    out = REFERENCES[activation.name](*args)
    return out if isinstance(out, tuple) else (out,)
