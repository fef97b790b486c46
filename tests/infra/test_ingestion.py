import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.generated.ingestion import TEMPLATE, completed, request_model
from streaming.domain.envelope import Envelope, open_record
from streaming.domain.events import Event
from streaming.domain.timestamps import format_timestamp
from streaming.edges.aws import client
from streaming.edges.ingestion_api import load_contract, load_openapi
from streaming.edges.kinesis_stream import KinesisEventStream
from tests.infra.templates import found, load
from tests.infra.velocity import Gateway

STREAM = "clickstream-events"
START = datetime(2025, 1, 1, tzinfo=UTC)
ODD = [
    'a "quoted" \\ backslash',
    "ключ 鍵 🗝 é",
    "two\nlines\r\nand a tab\t",
    "$context.requestId #set($event = 1) ${quote} #end",
    "</script>'--%00",
    "\u2028\u2029\x7f",
]


def test_the_template_is_what_lint_writes() -> None:
    assert TEMPLATE.read_text() == completed(TEMPLATE.read_text()), "./run lint --fix writes it anew"


def test_a_change_makes_a_new_deployment() -> None:
    # given
    template = TEMPLATE.read_text()
    # when
    changed = completed(template.replace("TimeoutInMillis: 10000", "TimeoutInMillis: 9000"))
    # then
    (before,), (after,) = (set(re.findall(r"Deployment[0-9a-f]{10}", text)) for text in (template, changed))
    assert before != after


def test_another_value_of_what_a_deployment_copies_is_another_deployment() -> None:
    # given
    template = load("ingestion.yaml")
    copied = [
        each["Properties"]
        for each in template["Resources"].values()
        if each["Type"].startswith("AWS::ApiGateway::")
        and each["Type"].rpartition(":")[2]
        in ("RestApi", "Resource", "Model", "RequestValidator", "Method", "GatewayResponse")
    ]
    # when
    conditions = {condition for condition, *_ in found(copied, "Fn::If")}
    texts = [*found(copied, "Fn::Sub"), *(f"${{{name}}}" for name in found(copied, "Ref"))]
    parameters = {name for name in template["Parameters"] if any(f"${{{name}}}" in text for text in texts)}
    # then: what is copied goes by one condition and by what never changes, and the stage follows the condition
    assert conditions == {"HasKeys"}
    assert parameters == {"StackName"}
    condition, *deployments = template["Resources"]["Stage"]["Properties"]["DeploymentId"]["Fn::If"]
    under = [template["Resources"][each["Ref"]]["Condition"] for each in deployments]
    assert (condition, under) == ("HasKeys", ["HasKeys", "HasNoKeys"])
    assert template["Conditions"]["HasNoKeys"] == {"Fn::Not": [{"Condition": "HasKeys"}]}


def test_a_deployment_waits_for_all_that_it_copies() -> None:
    resources = load("ingestion.yaml")["Resources"]
    kinds = ("AWS::ApiGateway::Method", "AWS::ApiGateway::GatewayResponse")
    copied = {name for name, each in resources.items() if each["Type"] in kinds}
    deployments = [each for each in resources.values() if each["Type"] == "AWS::ApiGateway::Deployment"]
    assert [set(each["DependsOn"]) for each in deployments] == [copied, copied]


def test_health_takes_little_of_what_kinesis_answers_an_account() -> None:
    """DescribeStreamSummary is answered 20 times a second, to the scaler and the consumers too."""
    settings = load("ingestion.yaml")["Resources"]["Stage"]["Properties"]["MethodSettings"]
    (health,) = (each for each in settings if (each["ResourcePath"], each["HttpMethod"]) == ("/~1health", "GET"))
    assert health["ThrottlingRateLimit"] <= 2
    assert health["ThrottlingBurstLimit"] <= 5


def test_the_api_is_the_contracts() -> None:
    # given
    resources = load("ingestion.yaml")["Resources"]
    paths = {name: each["Properties"].get("PathPart") for name, each in resources.items()}
    methods = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::ApiGateway::Method"]
    declared = load_openapi()["paths"]
    # then
    answered = {
        (f"/{paths[m['ResourceId']['Ref']]}", m["HttpMethod"].lower()) for m in methods if m["HttpMethod"] != "OPTIONS"
    }
    assert answered == {("/events", "post"), ("/health", "get")}
    assert all(method in declared[path] for path, method in answered)


def test_whatever_the_api_answers_itself_is_a_problem_that_the_contract_knows() -> None:
    # given
    resources = load("ingestion.yaml")["Resources"].values()
    declared = load_openapi()["paths"]["/events"]["post"]["responses"]
    schema = load_openapi()["components"]["schemas"]["Problem"]
    # when
    answers = [e["Properties"] for e in resources if e["Type"] == "AWS::ApiGateway::GatewayResponse"]
    # then
    assert len(answers) == 7
    for answer in answers:
        text = answer["ResponseTemplates"]["application/json"].replace("$context.error.messageString", '"why"')
        problem = json.loads(text)
        jsonschema.validate(problem, schema)
        assert str(problem["status"]) in declared
        assert answer.get("StatusCode", str(problem["status"])) == str(problem["status"])


@pytest.mark.parametrize("size", [0, 9, 99_999, 104_857, 1_000_000, 1_048_575, 1_048_576])
def test_bodies_of_a_mebibyte_pass_the_firewall(size: int) -> None:
    assert not re.search(too_large(), str(size))


@pytest.mark.parametrize("size", [1_048_577, 1_048_580, 1_048_600, 1_049_000, 1_050_000, 1_100_000, 2_000_000, 10**7])
def test_larger_bodies_do_not(size: int) -> None:
    assert re.search(too_large(), str(size))


@given(st.integers(0, 10**8))
def test_the_firewall_can_count(size: int) -> None:
    assert bool(re.search(too_large(), str(size))) == (size > 1_048_576)


def test_the_model_takes_what_the_contract_shows_and_no_other_types() -> None:
    # given
    model = jsonschema.Draft4Validator(request_model(load_openapi()))
    jsonschema.Draft4Validator.check_schema(model.schema)
    examples = load_openapi()["paths"]["/events"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    one = event()
    # then
    assert all(model.is_valid(example["value"]) for example in examples.values())
    assert model.is_valid([one] * 500)
    assert not model.is_valid([one] * 501)
    assert not model.is_valid([])
    assert not any(
        model.is_valid(one | wrong) for wrong in ({"user_id": 20}, {"event_name": "Browse"}, {"click_id": ""})
    )


def test_one_event_is_stamped_as_the_collector_stamps_it() -> None:
    # given
    gateway = Gateway(datetime(2026, 11, 23, 4, 15, 9, 417_000, UTC))
    # when
    (data,) = stamped(gateway, '{"user_id": "20",\r\n "price": 1.50}')
    # then
    assert data == (
        b'{"record_id":"1795407309417b0a4d5b8d7f22220000","arrival_timestamp":"2026-11-23T04:15:09.417000Z",'
        b'"client_ip":"169.235.214.44","event":{"user_id": "20",   "price": 1.50}}\n'
    )


@pytest.mark.parametrize("month", range(1, 13))
def test_every_month_is_known(month: int) -> None:
    now = datetime(2026, month, 9, 23, 59, 59, 7_000, UTC)
    (data,) = stamped(Gateway(now), json.dumps(event()))
    assert open_record(data, now).arrival == now


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:db8::1", "2001:0DB8:0:0:0:0:192.0.2.1"])
def test_the_address_is_the_connections(address: str) -> None:
    gateway = Gateway(address=address)
    (data,) = stamped(gateway, json.dumps(event(user_ip="1.1.1.1")))
    assert open_record(data, gateway.now).client_ip == address


@pytest.mark.parametrize(("user_ip", "client_ip"), [("1.1.1.1", None), (None, "8.8.8.8"), ("", "8.8.8.8")])
def test_where_the_payload_is_trusted_its_address_counts(user_ip: str | None, client_ip: str | None) -> None:
    gateway = Gateway(address="8.8.8.8", trust_payload_ip="true")
    (data,) = stamped(gateway, json.dumps(event(user_ip=user_ip)))
    assert open_record(data, gateway.now).client_ip == client_ip


@pytest.mark.parametrize("request_id", ["", "x", 'A"}', "DEADBEEF", "0" * 64, "3f5c1d8e-0ed3-4a4e-8b0a-4d5b8d7f2222"])
def test_a_request_id_that_a_client_chose_breaks_no_envelope(request_id: str) -> None:
    gateway = Gateway(request_id=request_id)
    envelopes = [open_record(data, gateway.now) for data in stamped(gateway, json.dumps([event(), event()]))]
    assert [each.record_id[-4:] for each in envelopes] == ["0000", "0001"]
    assert {each.record_id[:13] for each in envelopes} == {str(int(gateway.now.timestamp() * 1000))}


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    extra=st.dictionaries(st.text(min_size=1), _json, max_size=5),
    ascii_only=st.booleans(),
    indent=st.none() | st.just(1),
)
def test_one_event_travels_byte_by_byte(extra: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    # given
    body = json.dumps(extra | event(), ensure_ascii=ascii_only, indent=indent)
    gateway = Gateway()
    # when
    (data,) = stamped(gateway, body)
    # then
    envelope = open_record(data, gateway.now)
    assert len(envelope.record_id) == 32
    assert envelope.event == body.replace("\n", " ").encode()
    assert envelope.client_ip == "169.235.214.44"


@given(events=st.lists(st.dictionaries(st.text(min_size=1), _json, max_size=3), min_size=1, max_size=12))
def test_many_events_travel_each_with_its_own_identity(events: list[dict[str, Any]]) -> None:
    # given
    sent = [each | event() for each in events]
    gateway = Gateway()
    # when
    envelopes = [open_record(data, gateway.now) for data in stamped(gateway, json.dumps(sent))]
    # then
    assert len({each.record_id for each in envelopes}) == len(sent)
    assert [json.loads(each.event or b"") for each in envelopes] == sent


def test_what_is_accepted_is_on_the_stream_and_keeps_the_contract(aws: str) -> None:
    # given
    client("kinesis").create_stream(StreamName=STREAM, ShardCount=2)
    gateway = Gateway()
    events = [event(user_id=f"u{i}", note=text, click_id=f"c{i}") for i, text in enumerate(ODD * 80)]
    # when
    put = put_records(aws, gateway.render("Request", json.dumps(events)).json)
    answer = gateway.render("Response", json.dumps(put))
    # then
    judged = dict(good_events(STREAM, events))
    assert answer.status is None
    assert answer.json["accepted"] == len(events) == 480
    assert answer.json["record_ids"] == [judged[each["click_id"]].record_id for each in events]
    assert format_timestamp(judged["c0"].arrival)[:23] == format_timestamp(gateway.now)[:23]


def test_a_users_events_share_a_shard_whatever_the_user_is_called(aws: str) -> None:
    # given
    client("kinesis").create_stream(StreamName=STREAM, ShardCount=4)
    users = [text.replace("\n", "").replace("\r", "").replace("\t", "") for text in ODD]
    # when
    request = Gateway().render("Request", json.dumps([event(user_id=user) for user in users])).json
    alone = [Gateway().render("Request", json.dumps(event(user_id=user))).json["Records"][0] for user in users]
    # then
    assert [each["PartitionKey"] for each in request["Records"]] == users
    assert [each["PartitionKey"] for each in alone] == users
    assert put_records(aws, request)["FailedRecordCount"] == 0


@pytest.mark.parametrize("answer", [{"FailedRecordCount": 1, "Records": [{}, {}]}, {"Records": [{}]}, {}])
def test_nothing_is_accepted_unless_all_of_it_is_on_the_stream(answer: dict[str, Any]) -> None:
    rendered = Gateway().render("Response", json.dumps(answer))
    assert rendered.status == rendered.json["status"] == 503
    assert rendered.headers == {"Content-Type": "application/problem+json", "Retry-After": "1"}
    jsonschema.validate(rendered.json, load_openapi()["components"]["schemas"]["Problem"])


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("ProvisionedThroughputExceededException", 503),
        ("KMSThrottlingException", 503),
        ("com.amazonaws.kinesis.v20131202#ResourceNotFoundException", 503),
        (None, 503),
        ("InvalidArgumentException", 413),
        ("com.amazon.coral.validate#ValidationException", 413),
    ],
)
def test_errors_of_the_stream_are_the_contracts(kind: str | None, status: int) -> None:
    rendered = Gateway().render("Error", json.dumps({"__type": kind, "message": "…"}))
    assert rendered.json["status"] == status
    assert rendered.status == (413 if status == 413 else None), "the integration response's own status is 503"
    assert ("Retry-After" in rendered.headers) == (status == 503)


def test_a_stream_that_is_not_there_is_no_acceptance(aws: str) -> None:
    # given
    gateway = Gateway()
    # when
    with pytest.raises(HTTPError) as refused:
        put_records(aws, gateway.render("Request", json.dumps(event())).json)
    # then
    integration = load("ingestion.yaml")["Resources"]["PostEvents"]["Properties"]["Integration"]
    (error,) = (each for each in integration["IntegrationResponses"] if "SelectionPattern" in each)
    assert re.fullmatch(error["SelectionPattern"], str(refused.value.code))
    assert gateway.render("Error", refused.value.read().decode()).json["status"] == 503


def test_a_page_of_another_origin_may_read_the_answer() -> None:
    answer = json.dumps({"FailedRecordCount": 0, "Records": [{}]})
    assert Gateway().render("Response", answer).headers == {}
    assert Gateway(origin="https://shop.example").render("Response", answer).headers == {
        "Access-Control-Allow-Origin": "https://shop.example",
        "Access-Control-Allow-Credentials": "true",
    }


def event(**values: Any) -> dict[str, Any]:
    at = f"{datetime.now(UTC) - timedelta(seconds=5):%Y-%m-%d %H:%M:%S.%f}"
    found = {"timestamp": at, "user_id": "20", "pixel_id": "p", "click_id": "c", "event_name": "Search"}
    return found | values


def stamped(gateway: Gateway, body: str) -> list[bytes]:
    """The records that a request puts on the stream."""
    request = gateway.render("Request", body).json
    assert request["StreamName"] == STREAM
    return [base64.b64decode(record["Data"]) for record in request["Records"]]


def put_records(aws: str, request: dict[str, Any]) -> dict[str, Any]:
    """Send a rendered request as API Gateway sends it."""
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "Kinesis_20131202.PutRecords",
        "Authorization": "AWS4-HMAC-SHA256 Credential=test/20261123/us-east-1/kinesis/aws4_request",
    }
    with urlopen(Request(aws, json.dumps(request).encode(), headers), timeout=30) as answer:
        return json.load(answer)


def good_events(stream: str, sent: list[dict[str, Any]]) -> Iterator[tuple[str, Envelope]]:
    """Each event on the stream by its click_id; it keeps the contract, and says what was sent."""
    by_click = {each["click_id"]: each for each in sent}
    edge = KinesisEventStream(stream, "events")
    for shard in edge.list_shards():
        for record in edge.get_records(shard, None, 1000).records:
            envelope, judged = load_contract().judge(record.data, record.arrival, START)
            assert isinstance(judged, Event)
            assert judged.user_id == record.partition_key
            assert json.loads(envelope.event or b"") == by_click[judged.click_id]
            yield judged.click_id, envelope


def too_large() -> str:
    (size,) = (
        rule for rule in load("ingestion.yaml")["Resources"]["WebAcl"]["Properties"]["Rules"] if rule["Name"] == "size"
    )
    return size["Statement"]["RegexMatchStatement"]["RegexString"]
