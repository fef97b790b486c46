"""What the commands need of AWS: its stacks and how they change, what they leave, their state, and its errors."""
