"""How one setting's text is read: what is cut off it, lists, addresses, keys.

A validator's ValueError says what the value should be, in words that follow the variable's name, and never the value.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SecretStr
from pydantic_settings import NoDecode

T = TypeVar("T")
Role = Literal["viewer", "operator", "admin"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

KEY_MIN_CHARS = 16
ROOT_PATH_MAX_CHARS = 200
ASKED_DIRECTLY = ("/healthz", "/readyz", "/metrics")
"""Paths that probes and Prometheus ask the service itself for, past the proxy: as a prefix they would be its root."""
ANY_PROXY = "*"
_QUOTES = "\"'"
_ORIGIN = re.compile(r"(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[1-9][0-9]{0,4})?")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:[-_][a-z0-9]+)*", re.IGNORECASE)
_NO_HOST = re.compile(r"[\s/\\@?#*]")
_HEADER = re.compile(r"[A-Za-z0-9!#$&'*+.^_`|~-]+ *=(?:[ -$&-+.-~\-]|%(?!0[aAdD0])[0-9A-Fa-f]{2})*")
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:aws[a-z-]*:s3[a-z-]*:[a-z0-9-]*:[0-9]{12}:[A-Za-z0-9.:/-]+")
_REGION = re.compile(r"(?![0-9]+$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_CERT_REQS = re.compile(r"(?<=[?&]ssl_cert_reqs=)(?:CERT_)?(none|optional|required)(?=&|$)", re.IGNORECASE)
_SECRET = re.compile(r"[ -~]+")
_ROOT_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+")


def tidy(text: str) -> str:
    r"""`text` as it was meant: secrets and env files add line ends, blanks and a pair of quotes.

    >>> tidy(' "redis://cache" \n'), tidy("'a','b'")
    ('redis://cache', "'a','b'")
    """
    text = text.strip()
    quoted = len(text) > 1 and text[0] in _QUOTES and text[0] == text[-1] and text[0] not in text[1:-1]
    return text[1:-1].strip() if quoted else text


def tidied(values: Mapping[str, Any]) -> dict[str, Any]:
    """Every text tidied; what is empty then is not set, whatever it is for."""
    cut = {name: tidy(value) if isinstance(value, str) else value for name, value in values.items()}
    return {name: value for name, value in cut.items() if value != ""}


def comma_list(text: str) -> tuple[str, ...]:
    """The parts of a list, each tidied; empty ones are none."""
    return tuple(part for part in map(tidy, text.split(",")) if part)


def is_root_path(text: str) -> bool:
    """Whether `text` can stand before every path: plain segments, nothing that would lead elsewhere.

    >>> [is_root_path(text) for text in ("/shop/promi", "//evil.example", "/..", "/a b", "/a/")]
    [True, False, False, False, False]
    """
    return len(text) <= ROOT_PATH_MAX_CHARS and _ROOT_PATH.fullmatch(text) is not None


def _from_text(read: Callable[[str], T]) -> BeforeValidator:
    """Read what arrives as text; what the code hands over stays as it is."""
    return BeforeValidator(lambda value: read(value) if isinstance(value, str) else value)


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part, strict=False) for part in comma_list(text))
    except ValueError:
        raise ValueError("should be networks such as 10.0.0.0/8, separated by commas") from None


def _proxies(text: str) -> str:
    if ANY_PROXY in comma_list(text):
        return ANY_PROXY
    try:
        return ",".join(map(str, _networks(text)))
    except ValueError:
        raise ValueError("should be addresses or networks of proxies, separated by commas, or *") from None


def _root_path(text: str) -> str:
    path = "/" + text.strip("/") if text.strip("/") else ""
    if path and not is_root_path(path):
        raise ValueError("should be a path such as /promi, of letters, digits and . _ ~ -")
    if path in ASKED_DIRECTLY:
        raise ValueError(
            f"should be a path such as /promi: {path} is what probes and the like ask for without a prefix"
        )
    return path


def is_web_address(text: str) -> bool:
    """Whether `text` is the address of something on a web server."""
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # its words may hold a password
        return False


def is_base_address(text: str) -> bool:
    """Whether `/Import/Import.txt` and the like can be added to `text`, and asked for."""
    return is_web_address(text) and not re.search(r"[\s\\?#]", text) and "@" not in urlsplit(text).netloc


def base_address(text: str) -> str:
    """The base address in `text`, which may be that of the manifest, as it stands in a supplier's letter.

    >>> base_address("https://feed.example/x/"), base_address("https://feed.example/x/Import/Import.txt")
    ('https://feed.example/x', 'https://feed.example/x')
    """
    return text.rstrip("/").removesuffix("/Import/Import.txt").rstrip("/")


def is_redis_address(text: str) -> bool:
    """Whether `text` names host, port and database as numbers; a database that is none would silently be 0.

    >>> [is_redis_address(f"redis://{text}") for text in ("cache", ":p@[::1]:6380/1", "cache:99999", "cache/one")]
    [True, True, False, False]
    """
    try:
        parts = urlsplit(text)
        return parts.scheme == "unix" or (parts.port != 0 and re.fullmatch(r"/?\d*", parts.path) is not None)
    except ValueError:  # its words may hold a password
        return False


def redis_address(text: str) -> str:
    """`text` with what is asked of Redis' certificate as redis-py writes it, not as Celery does.

    >>> redis_address("rediss://cache/0?ssl_cert_reqs=CERT_NONE&db=1")
    'rediss://cache/0?ssl_cert_reqs=none&db=1'
    """
    return _CERT_REQS.sub(lambda found: found[1].lower(), text)


def is_header_list(text: str) -> bool:
    """Whether `text` is a list of headers as OpenTelemetry has it (W3C Baggage), none with a line break.

    >>> [is_header_list(text) for text in ("api-key=a%20b,x=1", "api-key", "a=b%0Ac: d", "Authorization=Bearer x")]
    [True, False, False, True]
    """
    return all(_HEADER.fullmatch(part.strip(" ")) for part in text.split(","))


def _web_address(example: str) -> AfterValidator:
    """Reads an address; `example` is what one of this kind looks like."""

    def read(text: str) -> str:
        if not is_web_address(text) or re.search(r"[@?#\s]", text):
            raise ValueError(f"should be an address such as {example}, without user name and query")
        return text.rstrip("/")

    return AfterValidator(read)


def _own_path(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("should be a path; it begins with the home of a user that is not known here") from None


def _listening_host(text: str) -> str:
    """An IPv6 address may stand in brackets, as in an address of the web."""
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def _bucket(text: str) -> str:
    if not _BUCKET.fullmatch(text):
        raise ValueError("should be the name of a bucket alone, such as pictures: letters, digits and . _ -")
    return text


def _region(text: str) -> str:
    if not _REGION.fullmatch(text):
        raise ValueError("should be a region such as eu-central-1, of letters, digits and -")
    return text


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.rstrip("/").lower() for part in comma_list(text))
    if not all(is_origin(origin) for origin in origins):
        raise ValueError("should be origins such as https://shop.example.com, separated by commas; * is not possible")
    return origins


def _regions(text: str) -> tuple[str, ...]:
    regions = comma_list(text)
    if not regions:
        raise ValueError("should be regions of the feed's prices such as BENELUX,EURO, the preferred one first")
    return regions


def _languages(text: str) -> tuple[str, ...]:
    languages = comma_list(text)
    if not languages or not all(map(_LANGUAGE.fullmatch, languages)):
        raise ValueError("should be the feed's codes of languages such as nl,de,en,fr, the preferred one first")
    return languages


def _hosts(text: str) -> tuple[str, ...]:
    hosts = comma_list(text)
    if any(_NO_HOST.search(host) for host in hosts):
        raise ValueError("should be hosts such as documents.example.com or documents.example.com:8443, without scheme")
    return hosts


def is_origin(text: str) -> bool:
    """Whether `text` is an origin as browsers send it: scheme, host in lower case and, where it is odd, port.

    >>> [is_origin(text) for text in ("https://shop.example", "http://localhost:3000", "*", "https://a.b/c", "null")]
    [True, True, False, False, False]
    >>> [is_origin(text) for text in ("https://Shop.example", "https://shop.example:443", "https://u@shop.example")]
    [False, False, False]
    """
    scheme, _, place = text.partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme)
    return default is not None and _ORIGIN.fullmatch(place) is not None and not place.endswith(default)


def _api_keys(text: str) -> tuple[ApiKey, ...]:
    keys = tuple(ApiKey.parse(part, number) for number, part in enumerate(comma_list(text), start=1))
    if not keys:  # as of a secret that came out empty: whoever set it did not mean a service without keys
        raise ValueError("should be name:role:secret, several separated by commas; leave it out for no keys")
    _refuse_twins([key.name for key in keys], "have the same name")
    _refuse_twins([key.secret.get_secret_value() for key in keys], "have the same secret")
    return keys


def _refuse_twins(parts: Sequence[str], what: str) -> None:
    for number, part in enumerate(parts, start=1):
        first = parts.index(part) + 1
        if first != number:
            raise ValueError(f"keys {first} and {number} {what}")


class ApiKey(BaseModel):
    """A caller's key: `name:role:secret`."""

    model_config = ConfigDict(frozen=True)

    name: str
    role: Role
    secret: SecretStr

    @classmethod
    def parse(cls, text: str, number: int = 1) -> ApiKey:
        """Read `name:role:secret`; the secret may hold colons. `number` is the key's place in the list.

        Raises:
            ValueError: which key it is and what is wrong; neither its secret nor anything that could be it.
        """
        name, role, secret = map(tidy, [*text.split(":", 2), "", ""][:3])
        if not name or role not in {"viewer", "operator", "admin"} or not secret:
            raise ValueError(f"key {number} should be name:role:secret, with role one of viewer, operator, admin")
        if len(secret) < KEY_MIN_CHARS:
            needed = f"the secret of key {number} should have {KEY_MIN_CHARS} characters or more"
            raise ValueError(f"{needed}: `openssl rand -hex 32` gives a good one")
        if not _SECRET.fullmatch(secret):  # clients send others as UTF-8 or as Latin-1, and many refuse to
            raise ValueError(f"the secret of key {number} should have letters, digits and signs of ASCII alone")
        return cls.model_validate({"name": name, "role": role, "secret": secret})


PriceRegions = Annotated[tuple[str, ...], NoDecode, _from_text(_regions)]
LanguageCodes = Annotated[tuple[str, ...], NoDecode, _from_text(_languages)]
Hosts = Annotated[tuple[str, ...], NoDecode, _from_text(_hosts)]
Networks = Annotated[tuple[Network, ...], NoDecode, _from_text(_networks)]
Origins = Annotated[tuple[str, ...], NoDecode, _from_text(_origins)]
Proxies = Annotated[str, AfterValidator(_proxies)]
RootPath = Annotated[str, AfterValidator(_root_path)]
OwnPath = Annotated[Path, AfterValidator(_own_path)]
ListeningHost = Annotated[str, AfterValidator(_listening_host)]
BucketName = Annotated[str, AfterValidator(_bucket)]
RegionName = Annotated[str, AfterValidator(_region)]
StoreAddress = Annotated[str, _web_address("https://account.r2.cloudflarestorage.com")]
PicturesAddress = Annotated[str, _web_address("https://pictures.example.com")]
ServiceAddress = Annotated[str, _web_address("https://shop.example/promi")]
CollectorAddress = Annotated[str, _web_address("https://collector.example:4318")]
ApiKeys = Annotated[tuple[ApiKey, ...], NoDecode, _from_text(_api_keys)]
