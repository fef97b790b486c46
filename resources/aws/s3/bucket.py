"""Objects of one bucket, whole or not at all: what is cut off goes on where it was, what is refused is tried again."""

import io
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

from streaming.edges.backoff import full_jitter

_PIECE_BYTES = 1 << 20
# A file beyond it is sent in parts of this size, so none is sent again for a fault in another.
_PART_BYTES = 32 << 20
_MOST_FAULTS_IN_A_ROW = 8
_MOST_DELETED_AT_ONCE = 1000


class Listed(NamedTuple):
    """An object as a listing tells of it; `modified` in seconds since 1970."""

    key: str
    size: int
    modified: float


class Bucket:
    """A bucket, by a client of S3 that tries again what is throttled or refused for now."""

    def __init__(self, name: str, s3: Any) -> None:
        self.name = name
        self._s3 = s3

    def download(self, key: str, etag: str | None, target: Path) -> None:
        """Fetch an object to a file of this machine; a piece of it at a time is in memory.

        Args:
            etag: of the object as it was listed; where another has taken its place, that is fetched.

        Raises:
            FileNotFoundError: there is no such object.
        """
        with target.open("wb") as file:
            self._fetch(key, etag, file)

    def upload(self, file: Path, key: str) -> None:
        """Store a file of any size; it is there when this returns, and nothing of it before."""
        from boto3.exceptions import S3UploadFailedError  # noqa: PLC0415 - what is not on AWS does without
        from boto3.s3.transfer import TransferConfig  # noqa: PLC0415

        parts = TransferConfig(multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=4)
        try:
            self._s3.upload_file(os.fspath(file), self.name, key, Config=parts)
        except S3UploadFailedError:
            # Its completion was tried again because the answer was lost, and then there is no such upload any more.
            if self.metadata(key) is None:
                raise

    def put(self, key: str, data: bytes, metadata: Mapping[str, str]) -> None:
        """Store some bytes."""
        self._s3.put_object(Bucket=self.name, Key=key, Body=data, Metadata=metadata)

    def read(self, key: str) -> bytes | None:
        """A small object; None where there is none."""
        content = io.BytesIO()
        try:
            self._fetch(key, None, content)
        except FileNotFoundError:
            return None
        return content.getvalue()

    def metadata(self, key: str) -> Mapping[str, str] | None:
        """What was stored beside an object; None where there is none."""
        from botocore.exceptions import ClientError  # noqa: PLC0415

        try:
            found: Mapping[str, str] = self._s3.head_object(Bucket=self.name, Key=key)["Metadata"]
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise
        return found

    def objects(self, prefix: str) -> Iterator[Listed]:
        """The objects below a prefix."""
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix):
            for each in page.get("Contents", ()):
                yield Listed(each["Key"], each["Size"], each["LastModified"].timestamp())

    def delete(self, keys: list[str]) -> None:
        """Remove objects; those that are gone already do no harm."""
        for first in range(0, len(keys), _MOST_DELETED_AT_ONCE):
            some = [{"Key": key} for key in keys[first : first + _MOST_DELETED_AT_ONCE]]
            answer = self._s3.delete_objects(Bucket=self.name, Delete={"Objects": some, "Quiet": True})
            for error in answer.get("Errors", ()):
                raise OSError(f"{error['Key']} was not removed: {error['Code']} {error.get('Message', '')}")

    def clear(self, prefix: str) -> None:
        """Remove the objects below a prefix."""
        self.delete([each.key for each in self.objects(prefix)])

    def abort_uploads(self, before: float) -> list[str]:
        """End uploads in parts that began before a moment and were never completed; returns their keys."""
        aborted = []
        for page in self._s3.get_paginator("list_multipart_uploads").paginate(Bucket=self.name):
            for upload in page.get("Uploads", ()):
                if upload["Initiated"].timestamp() < before:
                    self._s3.abort_multipart_upload(Bucket=self.name, Key=upload["Key"], UploadId=upload["UploadId"])
                    aborted.append(upload["Key"])
        return aborted

    def _fetch(self, key: str, etag: str | None, file: IO[bytes]) -> None:
        """Fetch an object however often its answers break off; it may be replaced meanwhile."""
        from botocore.exceptions import (  # noqa: PLC0415
            ClientError,
            FlexibleChecksumError,
            HTTPClientError,
            IncompleteReadError,
        )

        faults = 0
        while True:
            begun = file.tell()
            try:
                answer = self._get(key, etag, begun)
                etag = str(answer["ETag"])  # what is fetched after a fault belongs to the same object
                for piece in answer["Body"].iter_chunks(_PIECE_BYTES):
                    file.write(piece)
            except (HTTPClientError, IncompleteReadError):
                faults = 1 if file.tell() > begun else faults + 1
            except FlexibleChecksumError:
                _empty(file)
                faults += 1
            except ClientError as error:
                if etag is None or error.response["Error"]["Code"] != "PreconditionFailed":
                    raise
                _empty(file)
                etag = None  # another has taken its place
                continue
            else:
                return
            if faults == _MOST_FAULTS_IN_A_ROW:
                raise OSError(f"s3://{self.name}/{key} was cut off {faults} times at byte {file.tell()}")
            time.sleep(full_jitter(faults))

    def _get(self, key: str, etag: str | None, first: int) -> Mapping[str, Any]:
        wanted = {"IfMatch": etag} if etag else {}
        if first:
            wanted["Range"] = f"bytes={first}-"
        try:
            answer: Mapping[str, Any] = self._s3.get_object(Bucket=self.name, Key=key, **wanted)
        except self._s3.exceptions.NoSuchKey:
            raise FileNotFoundError(f"there is no s3://{self.name}/{key}") from None
        return answer


def located(address: str, s3: Any) -> tuple[Bucket, str]:
    """The bucket of an address `s3://bucket/a/prefix/`, and the prefix or key in it."""
    place = urlsplit(address)
    return Bucket(place.netloc, s3), place.path.lstrip("/")


def _empty(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()
