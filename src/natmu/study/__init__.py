"""Studies: recipes, the jobs that they expand to, and the table that comes out."""
