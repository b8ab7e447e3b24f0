"""Twelve activations on XOR, 100 seeds of each: which share solves it, and in how many steps?

python experiments/rivals/table.py
"""

import jaxnn
from jaxnn import comparison, devices

devices.use_all_cores()
problem = comparison.problem(jaxnn.xor(), exhaustive=True)
names = comparison.ACTIVATIONS
result = jaxnn.sweep(
    jaxnn.grid(task="xor", activation=names, learning_rate=0.03, seed=range(100)), {"xor": problem}, curves=False
)
print(f"{'activation':<12} solved   median of their steps")
for name in names:
    table = result.where(activation=name).table
    steps = sorted(table["target_step"][table["reached"]])
    print(f"{name:<12} {table['reached'].mean():6.0%}   {steps[len(steps) // 2] if steps else 'none':>22}")
