"""What AWS asks for a million of something, in US dollars, in us-east-1, as of 2026-11. Pure.

API Gateway (REST, first 333 million): https://aws.amazon.com/api-gateway/pricing/
Lambda (arm64): https://aws.amazon.com/lambda/pricing/
DynamoDB (on demand): https://aws.amazon.com/dynamodb/pricing/on-demand/
"""

GATEWAY_REQUESTS = 3.50
LAMBDA_REQUESTS = 0.20
LAMBDA_GB_S = 13.3334
WRITE_UNITS = 0.625
READ_UNITS = 0.125
FUNCTION_GB = 1.0


def requests_and_units(gateway: float, functions: float, write_units: float, read_units: float) -> float:
    """Return the dollars of a million turns that take so much each."""
    requests = gateway * GATEWAY_REQUESTS + functions * LAMBDA_REQUESTS
    return requests + write_units * WRITE_UNITS + read_units * READ_UNITS


def function_seconds(seconds: float) -> float:
    """Return the dollars of a million turns in which functions run so long together, waiting included."""
    return seconds * FUNCTION_GB * LAMBDA_GB_S
