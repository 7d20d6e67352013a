"""A benchmark that stays: whole programs, start-up included, interleaved, on the same files over loopback.

The one idea: nginx serves both the contents and a Targetprocess whose pages of metadata were written beforehand, so
that no server of ours caps what is measured. What is compared runs in turns, so that a noisy minute hits all.
The one trap: this process must stay small (the standard library only): a child's peak of memory, as the kernel tells
it, is never below what its parent had.
"""
