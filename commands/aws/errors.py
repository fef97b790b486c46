"""What AWS's client says of a person's own surroundings, as one line that says what to do."""

import sys

_LOG_IN = "`aws configure sso` makes a profile, `aws sso login` logs in, and AWS_PROFILE names the profile"
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
NO_CREDENTIALS = f"no credentials of AWS are found: {_LOG_IN}"


def advice(error: BaseException) -> str | None:
    """What to do about an error, or about the one of AWS's client that it came from; None where it came from none."""
    if "botocore.exceptions" not in sys.modules:  # nobody has asked AWS, and to load it takes a third of a second
        return None
    from botocore.exceptions import BotoCoreError, ClientError

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, (BotoCoreError, ClientError)):
        cause = cause.__cause__
    return None if cause is None else told(cause)


def told(error: BaseException) -> str:
    """What to do about an error of AWS's client."""
    from botocore import exceptions as aws

    line = " ".join(str(error).split())
    match error:
        case aws.ProfileNotFound():
            line = f"AWS_PROFILE: {line}; `aws configure list-profiles` lists those there are"
        case aws.NoRegionError():
            line = "no region of AWS is set: export AWS_REGION, or set one in your profile"
        case aws.NoCredentialsError() | aws.PartialCredentialsError():
            line = NO_CREDENTIALS
        case aws.SSOError() | aws.TokenRetrievalError() | aws.CredentialRetrievalError():
            line = f"your login to AWS cannot be used ({line}): {_LOG_IN}"
        case aws.ConnectionError() | aws.HTTPClientError():
            line = f"AWS cannot be reached ({line}): see to the network, and to AWS_REGION"
        case aws.ClientError() if error.response["Error"]["Code"] in _EXPIRED:
            line = f"your login to AWS has expired: {_LOG_IN}"
        case _:
            line = f"AWS refuses: {line}"
    return line
