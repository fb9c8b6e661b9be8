"""What AWS asks for a million of something, in US dollars, in us-east-1, as of 2026-11. Pure.

API Gateway (REST, first 333 million): https://aws.amazon.com/api-gateway/pricing/
Lambda (arm64): https://aws.amazon.com/lambda/pricing/
DynamoDB (on demand): https://aws.amazon.com/dynamodb/pricing/on-demand/
"""

GATEWAY_REQUESTS = 3.50
LAMBDA_REQUESTS = 0.20
LAMBDA_GB_S = 13.3334
API_GB, WORKER_GB = 1.0, 0.5
"""Memory of the functions, as .chalice/config.json has it."""
WRITE_UNITS = 0.625
READ_UNITS = 0.125


def requests_and_units(gateway: float, functions: float, write_units: float, read_units: float) -> float:
    """Return the dollars of a million turns that take so much each."""
    requests = gateway * GATEWAY_REQUESTS + functions * LAMBDA_REQUESTS
    return requests + write_units * WRITE_UNITS + read_units * READ_UNITS


def function_time(api_s: float, worker_s: float) -> float:
    """Return the dollars of a million turns in which the functions run so long, waiting included."""
    return (api_s * API_GB + worker_s * WORKER_GB) * LAMBDA_GB_S
