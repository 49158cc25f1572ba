"""Speed and memory beside rivals and goals. `python -m experiments benchmark` lists the suites.

A suite is a file like an experiment, but its `run(config)` yields `experiments._benchmark.Row`s.
"""
