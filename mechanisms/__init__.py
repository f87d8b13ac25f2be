"""Candidate mechanisms: one file, one mechanism, one docstring with its analysis and source.

``accepted`` keeps the budget by a written argument; ``rejected`` overspends, and each file says how. The files import
nothing of dpaudit and are loaded by path, exactly as a submission is.
"""
