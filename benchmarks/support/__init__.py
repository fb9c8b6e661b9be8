"""What the benchmarks stand on: an AWS account on this machine, a hook on its clients, DynamoDB's arithmetic."""
