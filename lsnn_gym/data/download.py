"""Downloads that are verified before they get their name, and go on where they were cut off."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from lsnn_gym.atomic import cannot_write
from lsnn_gym.data.extras import need
from lsnn_gym.errors import UserError

_ATTEMPTS = 3
_TIMEOUT_S = 30.0
_PAUSE_S = 1.0
_CHUNK_BYTES = 1 << 16


def download(
    urls: Sequence[str], path: Path, checksum: str | None, max_bytes: int, session: Any = None
) -> None:
    """Download a file to ``path`` from the first of ``urls`` that has it whole.

    The bytes go to ``<path>.part``, which stays when the connection breaks or the process is stopped: the
    next call asks the server only for the rest. Only a file with the right checksum takes the name ``path``;
    until then a file of that name stays as it is.

    Args:
        urls: Where the file is to be had, best first; ``https`` only, redirects included.
        path: The file to write; its folder is made.
        checksum: ``algorithm:digits``, or None where only the contents can be checked (by the caller).
        max_bytes: A longer answer is refused.
        session: A ``requests`` session; by default one that speaks ``https`` only.

    Raises:
        UserError: No address gave the file; what each of them did is named.
    """
    pooch, requests = need("pooch", "pooch"), need("requests", "requests")
    # Its own lines would come between ours, and before the one that says what is wrong.
    pooch.get_logger().setLevel("WARNING")
    failures: list[str] = []
    with contextlib.closing(session or https_session()) as opened:
        for url in urls:
            if urlsplit(url).scheme != "https":
                raise UserError(f"cannot download {url}: only https addresses are allowed")
            fetcher = ResumingDownloader(path.with_name(path.name + ".part"), max_bytes, opened)
            for _ in range(_ATTEMPTS):
                resumed = fetcher.part.exists()
                try:
                    pooch.retrieve(url, checksum, path.name, path.parent, downloader=fetcher)
                    return
                except (requests.ConnectionError, requests.Timeout) as error:
                    failures.append(f"{url}: {error}")
                    time.sleep(_PAUSE_S)
                except requests.RequestException as error:  # a "no", which would be said again
                    failures.append(f"{url}: {error}")
                    break
                except ValueError:
                    failures.append(f"{url}: what came has another checksum")
                    # An old part may have got the rest of a newer file: then once more from the start.
                    if not resumed:
                        break
                except OSError as error:
                    raise cannot_write(path, error) from error
    raise UserError(
        f"cannot download {path.name} (expected {checksum or 'an archive'}): {'; '.join(dict.fromkeys(failures))}"
    )


def https_session() -> Any:
    """Return a ``requests`` session that refuses every address, redirects included, that is not ``https``."""
    requests = need("requests", "requests")
    session = requests.Session()
    session.adapters.clear()
    session.mount("https://", requests.adapters.HTTPAdapter())
    return session


class ResumingDownloader:
    """A pooch downloader that keeps what it got in ``part`` and asks only for what is missing."""

    def __init__(self, part: Path, max_bytes: int, session: Any) -> None:
        self.part = part
        self._max_bytes = max_bytes
        self._session = session

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        """Fill ``output_file`` from ``url``.

        Raises:
            requests.RequestException: The server cannot be reached, refuses, breaks off or sends too much.
        """
        have = self.part.stat().st_size if self.part.exists() else 0
        # "identity": the checksum is that of the file, not of what a server makes of it under way.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with self._session.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
            if (
                have and response.status_code == 416
            ):  # the part is as long as the file, or longer: not its beginning
                self.part.unlink()
                return self(url, output_file, pooch)
            response.raise_for_status()
            start = have if _continues(response, have) else 0
            self._write(response, start)
        os.replace(self.part, output_file)
        return None

    def _write(self, response: Any, start: int) -> None:
        requests = need("requests", "requests")
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() and len(length) <= 18 else None
        if total is not None and total > self._max_bytes:
            raise requests.RequestException(
                f"announces {total:,} bytes, more than the {self._max_bytes:,} bytes expected"
            )
        bar = tqdm(
            total=total,
            initial=start,
            unit="B",
            unit_scale=True,
            desc=self.part.stem,
            disable=None,
            leave=False,
        )
        size = start
        with bar, open(self.part, "ab" if start else "wb") as file:
            for chunk in _chunks(response):
                size += len(chunk)
                if size > self._max_bytes:
                    file.close()
                    self.part.unlink()
                    raise requests.RequestException(f"sends more than the {self._max_bytes:,} bytes expected")
                file.write(chunk)
                bar.update(len(chunk))
            # Before it gets its name: a name that outlives a power cut must not outlive the contents.
            file.flush()
            os.fsync(file.fileno())
        if total is not None and size != total:
            raise requests.ConnectionError(f"broke off after {size:,} of {total:,} bytes")


def _continues(response: Any, have: int) -> bool:
    """Whether the answer begins at byte ``have``; a server may ignore the wish and send the whole file."""
    return response.status_code == 206 and response.headers.get("Content-Range", "").startswith(
        f"bytes {have}-"
    )


def _chunks(response: Any) -> Iterator[bytes]:
    urllib3, requests = need("urllib3", "requests"), need("requests", "requests")
    try:
        yield from response.raw.stream(_CHUNK_BYTES, decode_content=False)
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(str(error)) from error
