import pytest
from bench.errors import BenchError
from bench.wrk import Result, read_result

OUTPUT = """Running 1s test @ http://127.0.0.1:8000
  1 threads and 16 connections
1000 requests in 2.00s, 1.00MB read
roster-bench {"requests":1000,"duration_us":2000000,"p50_us":150,"p99_us":900,"max_us":1000,\
"errors":{"connect":0,"read":3,"write":0,"timeout":0,"status":2}}
"""


def test_the_results_of_the_script_are_read() -> None:
    expected = Result(requests=1000, seconds=2, p50_us=150, p99_us=900, errors={"read": 3, "status": 2})
    assert read_result(OUTPUT) == expected


def test_output_without_the_results_of_the_script_is_refused() -> None:
    with pytest.raises(BenchError, match="no result"):
        read_result("unable to connect to 127.0.0.1:8000 Connection refused\n")
