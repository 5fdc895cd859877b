"""HTTP for pulls: only allowed hosts are asked, and secrets stay with the first one."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.message import Message
from typing import IO, TypeVar
from urllib.parse import urlsplit

from server.store.errors import HostNotAllowed, Refused, Unreachable, WebError
from server.store.hosts import PullHosts
from server.store.progress import PullJob, PullStatus

_SECONDS_OF_SILENCE = 30.0
_PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds before an action is tried again, if the server names none."""
_LONGEST_PAUSE = 300.0
"""A server that asks for a longer pause is an error."""
_AGENT = "llamapack"
_LARGEST_BODY = 64 << 20
"""Bytes of a listing or a manifest that are read."""

_Result = TypeVar("_Result")


class Web:
    """Asks servers, within the allowed hosts."""

    def __init__(self, hosts: PullHosts | None = None) -> None:
        self._hosts = hosts or PullHosts()

    def open(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        method: str = "GET",
        leaves_host: bool = True,
    ) -> http.client.HTTPResponse:
        """The answer of a server, after redirections.

        `secrets` are headers that only the first host gets. Without `leaves_host`, a redirection
        to another host is no error: it is raised as `Refused`, with its headers. Raises `WebError`
        and `HostNotAllowed`.
        """
        self.check(url)
        request = urllib.request.Request(
            url, headers={"User-Agent": _AGENT, **(headers or {})}, method=method
        )
        for name, value in (secrets or {}).items():
            request.add_unredirected_header(name, value)
        opener = _opener(_Redirections(self, leaves_host))
        try:
            answer = opener.open(request, timeout=_SECONDS_OF_SILENCE)
        except urllib.error.HTTPError as error:
            error.close()
            raise Refused(error.code, dict(error.headers.items())) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unreachable(reason(error)) from None
        assert isinstance(answer, http.client.HTTPResponse)
        return answer

    def read(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
    ) -> bytes:
        """The body of a short answer. Raises `WebError`, `HostNotAllowed`."""
        with self.open(url, headers=headers, secrets=secrets) as answer:
            try:
                return answer.read(_LARGEST_BODY)
            except (OSError, http.client.HTTPException) as error:
                raise Unreachable(f"the connection was cut ({reason(error)})") from None

    def check(self, url: str) -> None:
        """Raise `HostNotAllowed` unless a pull may use the address."""
        if urlsplit(url).scheme not in ("http", "https"):
            raise HostNotAllowed(f"{url} is no http or https address")
        if not self._hosts.allow(url):
            raise HostNotAllowed(f"pulls may not use the host {urlsplit(url).hostname}")


def patiently(
    action: Callable[[], _Result],
    job: PullJob,
    measure: Callable[[], int] = lambda: 0,
    *,
    file: str = "",
    is_patient: bool = True,
) -> _Result:
    """The action's result; temporary errors are waited out. Progress brings new patience.

    `measure` is what the action has reached, in bytes. Without patience, only pauses are waited
    out that the server asks for. Raises `WebError` after some tries without progress.
    """
    best, failures = measure(), 0
    while True:
        try:
            return action()
        except WebError as error:
            reached = measure()
            failures = 1 if reached > best else failures + 1
            best = max(best, reached)
            pause = _pause(error, failures, is_patient)
            if pause is None:
                raise
            why = f"{error}; trying again in {pause:g} s"
            job.report(PullStatus.RETRYING, file, completed=reached, reason=why)
            job.pause(pause)


def _pause(error: WebError, failures: int, is_patient: bool) -> float | None:
    """Seconds until the next try; None if there is none."""
    if not error.is_temporary or failures > len(_PAUSES):
        return None
    if error.retry_after is not None:
        return error.retry_after if error.retry_after <= _LONGEST_PAUSE else None
    return _PAUSES[failures - 1] if is_patient else None


def reason(error: object) -> str:
    """What went wrong, in one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{error.verify_message}; SSL_CERT_FILE names other certificates"
    if isinstance(error, urllib.error.URLError):
        return reason(error.reason)
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]


def _opener(redirections: urllib.request.HTTPRedirectHandler) -> urllib.request.OpenerDirector:
    """HTTP alone: no files, no FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        redirections,
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Follows redirections to allowed hosts. Secrets go along only to the same host."""

    def __init__(self, web: Web, leaves_host: bool) -> None:
        self._web, self._leaves_host = web, leaves_host

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        stays = _origin(newurl) == _origin(req.full_url)
        if not stays and not self._leaves_host:
            return None
        try:
            self._web.check(newurl)
            if req.full_url.startswith("https:") and not newurl.startswith("https:"):
                raise HostNotAllowed(f"{req.host} leads to {newurl}, which is not encrypted")
        except HostNotAllowed:
            fp.close()
            raise
        request = urllib.request.Request(newurl, headers=req.headers, method=req.get_method())
        if stays:
            for name, value in req.unredirected_hdrs.items():
                if name.lower() != "host":
                    request.add_unredirected_header(name, value)
        return request


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
