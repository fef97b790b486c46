"""The terms under which a handler runs."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from streaming.runtime.lambda_host import (
    MAX_PAYLOAD_BYTES,
    FunctionError,
    FunctionTimeoutError,
    LambdaHost,
    RequestTooLargeError,
    ResponseTooLargeError,
)


def host(handler, timeout_seconds=5.0):
    return LambdaHost("probe", handler, timeout_seconds)


def test_the_context_is_lambdas():
    seen = []
    function = host(lambda event, context: seen.append(context))
    function.invoke({})
    function.invoke({})

    first, second = seen
    assert first.function_name == "probe"
    assert first.invoked_function_arn.startswith("arn:aws:lambda:")
    assert first.log_group_name == "/aws/lambda/probe"
    assert 4000 < first.get_remaining_time_in_millis() <= 5000
    assert first.aws_request_id != second.aws_request_id
    assert first.log_stream_name == second.log_stream_name


def test_the_answer_comes_back_as_it_is():
    answer = {"records": [1, "a", None]}
    assert host(lambda event, context: answer).invoke({"a": 1}) is answer


@pytest.mark.parametrize("raised", [ValueError("no"), SystemExit(1), RecursionError()])
def test_what_a_handler_raises_is_a_function_error(raised):
    def handler(event, context):
        raise raised

    function = host(handler)
    for _ in range(2):
        with pytest.raises(FunctionError, match=type(raised).__name__):
            function.invoke({})


def test_an_answer_that_is_no_json_is_a_function_error():
    with pytest.raises(FunctionError, match="MarshalError"):
        host(lambda event, context: {"data": b"bytes"}).invoke({})


def test_payloads_are_limited_both_ways():
    function = host(lambda event, context: "x" * event["size"])
    function.invoke({"size": MAX_PAYLOAD_BYTES - 2})

    with pytest.raises(ResponseTooLargeError):
        function.invoke({"size": MAX_PAYLOAD_BYTES})
    with pytest.raises(RequestTooLargeError):
        function.invoke({"size": "x" * MAX_PAYLOAD_BYTES})


def test_a_handler_that_hangs_times_out_and_never_takes_a_second_thread():
    release = threading.Event()

    def handler(event, context):
        if event.get("hang"):
            release.wait(10)
        return "done"

    function = host(handler, 0.5)
    before = threading.active_count()
    for _ in range(3):
        with pytest.raises(FunctionTimeoutError):
            function.invoke({"hang": True})
    assert threading.active_count() == before

    release.set()
    time.sleep(0.05)
    assert function.invoke({}) == "done"


def test_one_invocation_at_a_time():
    running, most = 0, 0

    def handler(event, context):
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.01)
        running -= 1

    function = host(handler)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(function.invoke, [{}] * 8))
    assert most == 1
