"""S3, STS, instance metadata and container credentials in one process, as strict as Amazon's.

moto keeps the objects and gives the credentials. What it does not look at is looked at here, in front of it:

- every request to S3 is signed, in its headers or its URL, by keys that exist; botocore calculates what the signature must be;
- temporary keys come with their token and have not ended, and neither has a signed URL;
- every `x-amz-` header is covered by the signature, and a request for a part does not say how it is encrypted;
- a web identity, and a container's authorization, is the one that is expected now; instance metadata want a token first.

Below `/berth/` the suite says what to expect, and asks what was seen. Arguments: host, port, port with TLS, certificate, key.
The user's keys are in the variables BERTH_ACCESS_KEY and BERTH_SECRET_KEY.
"""

import datetime
import hashlib
import io
import json
import os
import secrets
import sys
import threading
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import s3_backends
from moto.sts.models import sts_backends
from werkzeug.datastructures import Headers
from werkzeug.serving import run_simple
from werkzeug.test import Client
from werkzeug.wrappers import Response

ACCOUNT = "123456789012"
BUCKET = "berth-test"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/registry"
METADATA = "/latest/meta-data/iam/security-credentials/"

MOTO = DomainDispatcherApplication(create_backend_app)
LOCK = threading.Lock()
# What the suite wants, and what was seen since it last asked.
WANTED = {"token": secrets.token_hex(16), "lifetime": 3600, "conditions": "known", "metadata": secrets.token_hex(16)}
SEEN = {"requests": [], "given": []}


class Refused(Exception):
    """An answer instead of what was asked for."""

    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def now():
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)


def keys_of(access_key, token):
    """The secret of an access key, which comes with its token if it is temporary."""
    if access_key == os.environ["BERTH_ACCESS_KEY"]:
        if token is not None:
            raise Refused(400, "InvalidToken", "These keys have no session.")
        return os.environ["BERTH_SECRET_KEY"]
    for role in list(sts_backends[ACCOUNT]["aws"].assumed_roles):
        if role.access_key_id == access_key:
            if token != role.session_token:
                raise Refused(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")
            if now() >= role.expiration:
                raise Refused(400, "ExpiredToken", "The provided token has expired.")
            return role.secret_access_key
    raise Refused(403, "InvalidAccessKeyId", "The access key does not exist in our records.")


def check_signature(method, uri, headers, body):
    """Who sent a request to S3; refused unless it is signed as it must be."""
    query = dict(parse_qsl(urlsplit(uri).query, keep_blank_values=True))
    if "X-Amz-Signature" in query:
        said = {name: query[f"X-Amz-{name}"] for name in ("Credential", "SignedHeaders", "Signature", "Date")}
        token, auth = query.get("X-Amz-Security-Token"), S3SigV4QueryAuth
        made = datetime.datetime.strptime(said["Date"], "%Y%m%dT%H%M%SZ")
        if now() >= made + datetime.timedelta(seconds=int(query["X-Amz-Expires"])):
            raise Refused(403, "AccessDenied", "Request has expired")
        path, _, pairs = uri.partition("?")
        uri = path + "?" + "&".join(pair for pair in pairs.split("&") if not pair.startswith("X-Amz-Signature="))
    elif "Authorization" in headers:
        fields = headers["Authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(",")
        said = dict(field.strip().split("=", 1) for field in fields)
        said["Date"], token, auth = headers["X-Amz-Date"], headers.get("X-Amz-Security-Token"), S3SigV4Auth
        told = headers["X-Amz-Content-SHA256"]
        if told not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
            raise Refused(400, "XAmzContentSHA256Mismatch", "The body is not the one that was signed.")
    else:
        raise Refused(403, "AccessDenied", "Access Denied")
    signed = said["SignedHeaders"].split(";")
    loose = [name for name in headers.keys() if name.lower().startswith("x-amz-") and name.lower() not in signed]
    if loose:
        raise Refused(403, "AccessDenied", f"There were headers present in the request which were not signed: {loose}")
    access_key, _, region, service, _ = said["Credential"].split("/")
    credentials = Credentials(access_key, keys_of(access_key, token), token)
    signer = auth(credentials, service, region)
    request = AWSRequest(method, "http://" + headers["Host"] + uri, {name: headers[name] for name in signed})
    request.context["timestamp"] = said["Date"]
    text = signer.string_to_sign(request, signer.canonical_request(request))
    if not secrets.compare_digest(signer.signature(text, request), said["Signature"]):
        raise Refused(403, "SignatureDoesNotMatch", "The signature does not match the one you provided.")
    return access_key


def s3(environ, method, uri, headers):
    """Looks at a request to S3, and gives it to moto."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    query = dict(parse_qsl(urlsplit(uri).query, keep_blank_values=True))
    seen = {
        "method": method,
        "key": unquote(urlsplit(uri).path).removeprefix(f"/{BUCKET}").lstrip("/"),
        "query": sorted(name for name in query if not name.startswith("X-Amz-")),
        "signed": "url" if "X-Amz-Signature" in query else "headers",
        "headers": {name.lower(): value for name, value in headers.items()
                    if name.lower().startswith(("x-amz-server-side", "x-amz-storage", "x-amz-acl", "x-amz-copy", "if-"))},
    }
    try:
        seen["by"] = check_signature(method, uri, headers, body)
        if "partNumber" in query and any(name.startswith("x-amz-server-side") for name in seen["headers"]):
            raise Refused(400, "InvalidArgument", "x-amz-server-side-encryption header is not supported for this operation.")
        conditions = [name for name in ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH") if method == "PUT" and name in environ]
        if conditions and WANTED["conditions"] == "refused":
            raise Refused(501, "NotImplemented", "A header you provided implies functionality that is not implemented.")
        if WANTED["conditions"] == "ignored":
            for name in conditions:
                del environ[name]
    except Refused as refused:
        seen["refused"] = refused.code
        raise
    finally:
        with LOCK:
            SEEN["requests"].append(seen)
    return MOTO


def give(how):
    """Temporary credentials of moto's, as the metadata services write them."""
    role = sts_backends[ACCOUNT]["aws"].assume_role(
        region_name="us-east-1", role_session_name="registry", role_arn=ROLE, policy=None,
        duration=WANTED["lifetime"], external_id=None,
    )
    with LOCK:
        SEEN["given"].append({"how": how, "key": role.access_key_id})
    return {
        "AccessKeyId": role.access_key_id, "SecretAccessKey": role.secret_access_key, "Token": role.session_token,
        "Expiration": role.expiration.strftime("%Y-%m-%dT%H:%M:%SZ"), "Code": "Success", "Type": "AWS-HMAC",
    }


def web_identity(environ):
    """Looks at a request for credentials by a token, and gives it to moto's STS."""
    query = dict(parse_qsl(environ["QUERY_STRING"]))
    if query["WebIdentityToken"] != WANTED["token"] or query["RoleArn"] != ROLE:
        raise Refused(400, "InvalidIdentityToken", "The token is not the one that is expected.")
    query["DurationSeconds"] = str(WANTED["lifetime"])
    # moto finds out by a form which of its services is meant.
    form = urlencode(query).encode()
    environ.update({
        "wsgi.input": io.BytesIO(form), "CONTENT_LENGTH": str(len(form)), "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "QUERY_STRING": "", "REQUEST_URI": "/", "RAW_URI": "/",
    })
    before = len(sts_backends[ACCOUNT]["aws"].assumed_roles)

    def answered(environ, start_response):
        answer = MOTO(environ, start_response)
        with LOCK:
            for role in sts_backends[ACCOUNT]["aws"].assumed_roles[before:]:
                SEEN["given"].append({"how": "web identity", "key": role.access_key_id})
        return answer

    return answered


def metadata(method, path, headers):
    """Instance metadata, version 2."""
    if (method, path) == ("PUT", "/latest/api/token"):
        int(headers["X-aws-ec2-metadata-token-ttl-seconds"])
        return Response(WANTED["metadata"])
    if headers.get("X-aws-ec2-metadata-token") != WANTED["metadata"]:
        raise Refused(401, "Unauthorized", "no token")
    if path == METADATA:
        return Response("registry")
    if path == METADATA + "registry":
        return Response(json.dumps(give("instance")))
    raise Refused(404, "NotFound", path)


def objects():
    """What HEAD says of every object."""
    moto = Client(MOTO, Response)
    # By its form moto knows that S3 is meant; nobody looks at the signature here.
    author = {"Authorization": "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"}
    found = {}
    for key in list(s3_backends[ACCOUNT]["aws"].buckets[BUCKET].keys):
        headers = moto.head(f"/{BUCKET}/{quote(key)}", headers=author).headers
        found[key] = {name.lower(): value for name, value in headers.items()}
    return found


def suite(method, path, environ):
    """What the suite says and asks."""
    if method == "PUT":
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        WANTED.update(json.loads(body))
        return Response(status=204)
    if path == "/berth/objects":
        return Response(json.dumps(objects()))
    if path == "/berth/credentials":
        return Response(json.dumps(give("by hand")))
    with LOCK:
        name = path.removeprefix("/berth/")
        taken, SEEN[name] = SEEN[name], []
    return Response(json.dumps(taken))


def application(environ, start_response):
    method, uri = environ["REQUEST_METHOD"], environ["REQUEST_URI"]
    path, headers = urlsplit(uri).path, Headers(
        [(name[5:].replace("_", "-"), value) for name, value in environ.items() if name.startswith("HTTP_")]
        + [(name.replace("_", "-"), environ[name]) for name in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(name)]
    )
    try:
        if path.startswith("/berth/"):
            answer = suite(method, path, environ)
        elif path == "/container":
            if headers.get("Authorization") != WANTED["token"]:
                raise Refused(401, "Unauthorized", "The token is not the one that is expected.")
            answer = Response(json.dumps(give("container")))
        elif path.startswith("/latest/"):
            answer = metadata(method, path, headers)
        elif path == "/" and "AssumeRoleWithWebIdentity" in environ["QUERY_STRING"]:
            answer = web_identity(environ)
        else:
            answer = s3(environ, method, uri, headers)
    except Refused as refused:
        text = f"<Error><Code>{refused.code}</Code><Message>{refused.message}</Message></Error>"
        answer = Response(text, refused.status, content_type="application/xml")
    return answer(environ, start_response)


def main():
    host, port, tls_port, certificate, key = sys.argv[1:]
    s3_backends[ACCOUNT]["aws"].create_bucket(BUCKET, "us-east-1")
    run = {"threaded": True, "request_handler": MotoRequestHandler}
    tls = threading.Thread(
        target=run_simple, args=(host, int(tls_port), application), kwargs={**run, "ssl_context": (certificate, key)}, daemon=True,
    )
    tls.start()
    run_simple(host, int(port), application, **run)


main()
