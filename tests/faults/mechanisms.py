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
        1,
        "test_producers.py::test_01_put_records_fails_3_of_500",
        "streaming/runtime/collector/group_commit.py",
        "only what failed is put again",
        "pending = [index for index in pending if errors[index] == SERVICE_UNAVAILABLE]",
        "pending = pending if SERVICE_UNAVAILABLE in errors else []",
    ),
    Mechanism(
        2,
        "test_producers.py::test_02_an_acknowledgement_is_lost_and_the_producer_sends_again",
        "sql/flatten/flattened_events.sql",
        "one row per click_id",
        "WHERE r.copy_number = 1",
        "WHERE r.copy_number >= 1",
    ),
    Mechanism(
        3,
        "test_producers.py::test_03_throttled_until_the_retries_end",
        "streaming/runtime/collector/group_commit.py",
        "what the stream refuses is not acknowledged",
        "if error_code is not None:",
        'if error_code == "never":',
    ),
    Mechanism(
        4,
        "test_poison.py::test_04_a_poison_record_in_mid_batch",
        "streaming/runtime/event_source_mapping.py",
        "a batch that fails is split until the record is alone",
        "bisect: bool = True",
        "bisect: bool = False",
    ),
    Mechanism(
        5,
        "test_poison.py::test_05_every_record_of_a_batch_is_bad",
        "streaming/runtime/transform.py",
        "a record that fails does not fail its batch",
        'if result == "ProcessingFailed":\n',
        'if result == "ProcessingFailed":\n        raise MalformedAnswerError("a record failed")\n',
    ),
    Mechanism(
        6,
        "test_consumers.py::test_06_a_batch_is_replayed_three_times_and_shuffled",
        "streaming/edges/user_cache.py",
        "the last access only moves forward",
        "local newer = moment > last or (moment == last and record_id > last_record_id)",
        "local newer = true",
    ),
    Mechanism(
        7,
        "test_poison.py::test_07_timestamps_of_the_future_negative_and_nan",
        "streaming/handlers/last_access.py",
        "a clock that runs ahead is held back to the arrival",
        "min(e.event.timestamp, e.arrival),",
        "e.event.timestamp,",
    ),
    Mechanism(
        8,
        "test_consumers.py::test_08_killed_after_the_redis_write_before_the_checkpoint",
        "streaming/edges/user_cache.py",
        "the last access only moves forward",
        "local newer = moment > last or (moment == last and record_id > last_record_id)",
        "local newer = true",
    ),
    Mechanism(
        9,
        "test_consumers.py::test_09_the_store_of_failed_events_is_down",
        "streaming/runtime/delivery_stream.py",
        "nothing is acknowledged before its files are written",
        "            until_done(partial(self._lake.publish, path, data), stop)\n",
        "            try:\n                self._lake.publish(path, data)\n"
        "            except OSError:\n                continue\n",
    ),
    Mechanism(
        9,
        "test_consumers.py::test_09_the_store_of_failed_events_is_down",
        "streaming/runtime/event_source_mapping.py",
        "a record is given up only when it is kept",
        "            until_done(partial(self._lake.publish, path, data), stop)\n",
        "            try:\n                self._lake.publish(path, data)\n"
        "            except OSError:\n                continue\n",
    ),
    Mechanism(
        10,
        "test_consumers.py::test_10_retries_exhausted",
        "streaming/runtime/event_source_mapping.py",
        "a record that is given up is kept",
        "self._keep(shard, records, Failure(code, failure.message, span.retries + 1), stop)",
        "pass",
    ),
    Mechanism(
        13,
        "test_delivery.py::test_13_the_transform_times_out_until_the_retries_end",
        "streaming/runtime/transform.py",
        "a batch whose transform fails to the end is kept as failed",
        "return [failure] * len(batch)",
        "return [None] * len(batch)",
    ),
    Mechanism(
        14,
        "test_delivery.py::test_14_a_batch_is_delivered_twice_also_across_an_hours_boundary",
        "sql/enriched/enriched_events.sql",
        "an hour has each record once",
        "WHERE r.copy_number = 1",
        "WHERE r.copy_number >= 1",
    ),
    Mechanism(
        15,
        "test_poison.py::test_15_json_that_breaks_parsers_and_parquet",
        "streaming/domain/json_text.py",
        "a key that stands twice is no JSON",
        ", object_pairs_hook=_unique_keys",
        "",
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
        "except (redis.RedisError, ValueError, TimeoutError) as error:",
        "except ValueError as error:",
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
    Mechanism(
        19,
        "test_dependencies.py::test_19_cache_redis_refused_stopped_out_of_memory",
        "streaming/edges/look_ups.py",
        "a cache that fails costs names, not events",
        "except (redis.RedisError, ValueError, TimeoutError) as error:",
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
        24,
        "test_tables.py::test_24_a_run_is_killed_at_every_step",
        "resources/lake.py",
        "a file in the making is hidden from readers",
        'final.with_name(f".{os.urandom(4).hex()}-{final.name}")',
        'final.with_name(f"{os.urandom(4).hex()}-{final.name}")',
    ),
    Mechanism(
        26,
        "test_tables.py::test_26_a_rerun_yields_fewer_files_and_rows",
        "resources/catalog.py",
        "the landing files of a sealed hour are not read beside it",
        "NOT IN ({sealed_now})",
        "IS NOT NULL AND '' NOT IN ({sealed_now})",
    ),
    Mechanism(
        27,
        "test_tables.py::test_27_late_events_midnight_and_daylight_saving",
        "streaming/domain/timestamps.py",
        "an offset is turned into UTC",
        "return moment.astimezone(UTC)\n    except OverflowError:",
        "return moment.replace(tzinfo=UTC)\n    except OverflowError:",
    ),
)
