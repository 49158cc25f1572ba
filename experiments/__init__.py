"""One file per question. `python -m experiments` lists them; each one says what to expect.

A file without a leading underscore is an experiment: a docstring that asks the question and gives
the command, the minutes and the numbers to expect; a frozen dataclass `Config`; and
`run(config, record)`. Adding such a file adds it to the list.
"""
