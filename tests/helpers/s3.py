"""A store that speaks S3: moto's server, in a process of its own, that checks keys."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repofs.privileges import end_with_parent
from tests.helpers.waiting import until

_SERVE = """
import sys
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
_EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


@dataclass(frozen=True)
class S3:
    """A running server with the buckets `results` and `others`; *key* and *secret* are let to both."""

    endpoint: str
    key: str
    secret: str
    client: Any  # boto3's
    stop: Callable[[], None]  # it is away from then on

    def upload(self, directory: Path, key: str, bucket: str = "results") -> None:
        """Put all files of *directory* below *key*."""
        for path in directory.rglob("*"):
            if path.is_file():
                self.client.upload_file(str(path), bucket, f"{key}/{path.relative_to(directory)}")

    def credentials(self, path: Path, *, secret: str | None = None) -> Path:
        """Write the file that the settings of a store name."""
        path.write_text(f'access_key_id = "{self.key}"\nsecret_access_key = "{secret or self.secret}"\n')
        path.chmod(0o600)
        return path


@contextmanager
def s3_server() -> Iterator[S3]:
    """Run a server in the context."""
    parent = os.getpid()
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "1000000"},
        preexec_fn=lambda: end_with_parent(9, parent),
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            endpoint = f"http://127.0.0.1:{int(process.stdout.readline())}"
            until(lambda: _answers(endpoint), "moto's server is up")
            yield _prepared(endpoint, process.kill)
        finally:
            process.kill()


def _answers(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(f"{endpoint}/moto-api/data.json", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _prepared(endpoint: str, stop: Callable[[], None]) -> S3:
    import boto3

    made = {"endpoint_url": endpoint, "region_name": "us-east-1"}
    anybody = {**made, "aws_access_key_id": "x", "aws_secret_access_key": "x"}
    iam = boto3.client("iam", **anybody)
    iam.create_user(UserName="repofs")
    iam.put_user_policy(UserName="repofs", PolicyName="all", PolicyDocument=json.dumps(_EVERYTHING))
    key = iam.create_access_key(UserName="repofs")["AccessKey"]
    for bucket in ("results", "others"):
        boto3.client("s3", **anybody).create_bucket(Bucket=bucket)
    reset = urllib.request.Request(f"{endpoint}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"})
    urllib.request.urlopen(reset, timeout=5).close()  # from here on keys are checked
    ids = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    return S3(endpoint, key["AccessKeyId"], key["SecretAccessKey"], boto3.client("s3", **made, **ids), stop)
