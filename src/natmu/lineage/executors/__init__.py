"""Where models are made: in this process and others beside it, or on a Ray cluster. What comes out is the same."""
