"""Mechanisms of which the truth is known: what the gate must catch, and what it must let through."""
