"""What ships to Lambda, and what hosts it on one machine. Knows nothing of Dagster."""
