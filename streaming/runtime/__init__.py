"""What hosts the Lambdas on one machine: collector, event source mapping, delivery stream, traffic."""
