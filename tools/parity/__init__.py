"""Golden-vector checks. One module per family beside this file; each fills ``CASES``.

A check is ``check(case: Case) -> None``: it runs our code on ``case.inputs`` and calls
``case.compare(key, ours, tolerance)`` (or ``case.covered(key, note)``) for the arrays of ``case.expected``.
Arrays that no call named are "not implemented".
"""
