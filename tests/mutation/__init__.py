"""Mutation testing both ways: of sound mechanisms, which the gate must stop accepting, and of dpaudit's own code."""
