"""What keeps each fault from costing anything: take one of these out, and its row's test must fail."""

from typing import NamedTuple


class Mechanism(NamedTuple):
    """`old` stands exactly once in the product's `file`; with `new` in its place `what` is gone, and `test` is red.

    `row` is the fault's number in the catalogue, `test` the test's node id below tests/faults.
    """

    row: int
    test: str
    file: str
    what: str
    old: str
    new: str


MECHANISMS: tuple[Mechanism, ...] = (
    Mechanism(
        2,
        "test_producers.py::test_02_an_acknowledgement_is_lost_and_the_producer_sends_again",
        "sql/flatten/flattened_events.sql",
        "one row per click_id",
        "WHERE r.copy_number = 1",
        "WHERE r.copy_number >= 1",
    ),
    Mechanism(
        11,
        "test_transform_answers.py::test_11_a_transform_answer_larger_than_6_mb",
        "streaming/handlers/enrichment.py",
        "an answer is kept below Lambda's 6 MB",
        "if size + len(line) - len(data) <= MAX_ANSWER_BYTES:",
        "if True:",
    ),
    Mechanism(
        12,
        "test_transform_answers.py::test_12_record_ids_missing_doubled_and_reordered_in_an_answer",
        "streaming/runtime/transform.py",
        "an id that is missing is a failure",
        'return Failure("Lambda.MissingRecordId", "the answer does not have the record", attempt)',
        "return None",
    ),
    Mechanism(
        12,
        "test_transform_answers.py::test_12_record_ids_missing_doubled_and_reordered_in_an_answer",
        "streaming/runtime/transform.py",
        "an id that is doubled is a failure",
        "if times > 1:",
        "if times > 9:",
    ),
    Mechanism(
        16,
        "test_poison_shapes.py::test_16_a_known_key_turns_from_number_to_string_to_object",
        "streaming/domain/validation.py",
        "the schema judges what the short cut does not take",
        "for error in self._validator.iter_errors(plain)]",
        "for error in ()]",
    ),
    Mechanism(
        17,
        "test_places.py::test_17_one_bad_address_among_999_good",
        "streaming/edges/geo_ipinfo.py",
        "an address that cannot be looked up is not asked for",
        "unusable_address(ip) or MissingPlace.LOOKUP_FAILED for ip in ips",
        "MissingPlace.LOOKUP_FAILED for ip in ips",
    ),
    Mechanism(
        18,
        "test_places.py::test_18_ipinfo_429_500_hangs_truncates_and_answers_html",
        "streaming/edges/geo_ipinfo.py",
        "a circuit breaker leaves ipinfo alone",
        "if not wanted or self._breaker.is_open:",
        "if not wanted:",
    ),
    Mechanism(
        18,
        "test_places.py::test_18_ipinfo_429_500_hangs_truncates_and_answers_html",
        "streaming/edges/look_ups.py",
        "a stale place before none",
        "if place is MissingPlace.LOOKUP_FAILED and ip in cached else place",
        "if not place else place",
    ),
    Mechanism(
        19,
        "test_dependencies.py::test_19_cache_redis_refused_stopped_out_of_memory",
        "streaming/edges/look_ups.py",
        "a cache that fails costs names, not events",
        "except (redis.RedisError, ValueError) as error:",
        "except ValueError as error:",
    ),
    Mechanism(
        19,
        "test_dependencies.py::test_19_cache_redis_refused_stopped_out_of_memory",
        "streaming/edges/user_cache.py",
        "the cache is waited for no longer than its deadline",
        "socket_timeout=timeout_seconds,",
        "socket_timeout=None,",
    ),
    Mechanism(
        21,
        "test_dependencies.py::test_21_mysql_down_or_slow_and_an_unknown_user",
        "streaming/edges/look_ups.py",
        "who is unknown is asked for again",
        " if not isinstance(name, MissingName)}",
        "}",
    ),
    Mechanism(
        29,
        "test_requests.py::test_29_gzip_bomb_10_mib_body_and_slow_clients",
        "streaming/runtime/collector/request_body.py",
        "no more is unpacked than a body may have",
        "decompressor.decompress(body, MAX_BODY_BYTES + 1)",
        "decompressor.decompress(body)",
    ),
    Mechanism(
        29,
        "test_requests.py::test_29_gzip_bomb_10_mib_body_and_slow_clients",
        "streaming/runtime/collector/request_body.py",
        "a body has its time",
        "async with asyncio.timeout(BODY_SECONDS):",
        "async with asyncio.timeout(None):",
    ),
)
