"""Twelve activations on XOR, 100 seeds of each: which share solves it, and in how many steps?

python experiments/rivals/table.py
"""

from jaxnn import lab
from jaxnn.lab.comparison import ACTIVATIONS

lab.use_all_cores()
plan = lab.grid(task="xor", activation=ACTIVATIONS, learning_rate=0.03, seed=range(100))
found = lab.sweep(plan, {"xor": lab.splits(lab.task("xor"))})
print(f"{'activation':<12} solved   median of their steps")
for name in ACTIVATIONS:
    table = found.where(activation=name)
    steps = sorted(table["target_step"][table["reached"]])
    print(f"{name:<12} {table['reached'].mean():6.0%}   {steps[len(steps) // 2] if steps else 'none':>22}")
