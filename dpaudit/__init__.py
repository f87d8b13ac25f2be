"""dpaudit: verification-focused auditing of differentially private training."""

__version__ = "0.1.0"
