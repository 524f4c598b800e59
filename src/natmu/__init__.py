"""Machine unlearning of image classifiers: forget training samples, and measure how close that is to retraining."""

__version__ = "0.1.0"
