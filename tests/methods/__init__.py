"""Tests of the unlearning methods."""
