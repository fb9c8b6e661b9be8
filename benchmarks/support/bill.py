"""What AWS asks for a million turns, in US dollars, by the one dated list of prices (pai/operate/aws_prices.json). Pure."""

from pai.operate.prices import aws_price

GATEWAY_REQUESTS = aws_price("gateway_request").dollars
LAMBDA_REQUESTS = aws_price("lambda_request").dollars
LAMBDA_GB_S = aws_price("lambda_gb_s").dollars
WRITE_UNITS = aws_price("dynamodb_write").dollars
READ_UNITS = aws_price("dynamodb_read").dollars
API_GB, WORKER_GB = 1.0, 0.5
"""Memory of the functions, as .chalice/config.json has it."""


def requests_and_units(gateway: float, functions: float, write_units: float, read_units: float) -> float:
    """Return the dollars of a million turns that take so much each."""
    requests = gateway * GATEWAY_REQUESTS + functions * LAMBDA_REQUESTS
    return requests + write_units * WRITE_UNITS + read_units * READ_UNITS


def function_time(api_s: float, worker_s: float) -> float:
    """Return the dollars of a million turns in which the functions run so long, waiting included."""
    return (api_s * API_GB + worker_s * WORKER_GB) * LAMBDA_GB_S
