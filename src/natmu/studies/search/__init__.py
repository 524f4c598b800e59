"""The search of methods' settings: ranges, trials that many workers share, and what was found."""
