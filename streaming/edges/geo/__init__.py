"""Where an address is: what a provider answers, the two there are, and the one that settings ask for."""
