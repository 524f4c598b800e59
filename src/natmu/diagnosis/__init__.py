"""What ``natmu doctor`` looks at: the machine, the installation, the data and the runs. Nothing is changed."""
