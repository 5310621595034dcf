"""Takes the photos that browsers send, within limits. What is cut off or refused leaves nothing.

Gradio would do this itself, but it keeps the temporary files of uploads that break off, takes a
thousand files in one request, and stores equal photos of different people as one file.
"""

import asyncio
import pathlib
import re
import shutil
from typing import BinaryIO

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from diffdepth_jax.web.owned_files import OwnedFiles
from diffdepth_jax.web.upload_limits import Refused, UploadLimits

_ONE_PHOTO = "an upload is a form with one photo"
_FORM = 64 * 1024  # bytes of a request at most, beside its file
_SECONDS = 600  # that a request may take
_NAME = re.compile(r"[^\w. ()\[\]-]+")
_LONGEST_NAME = 100  # characters


class _Parser(MultiPartParser):
    """Keeps more than the beginning of a photo on disk, in a file without a name."""

    spool_max_size = 64 * 1024  # bytes


class Uploads:
    """Stores each photo in a folder of its own, for its sender alone.

    Attributes:
      max_size: bytes of the largest photo.
    """

    def __init__(self, files: OwnedFiles, limits: UploadLimits, max_size: int) -> None:
        """Takes at most `max_size` bytes in one request, which holds one photo."""
        self._files, self._limits, self.max_size = files, limits, max_size

    async def receive(self, request: Request, owner: str) -> pathlib.Path:
        """Returns the path of the stored photo.

        Raises:
          HTTPException: the request is too large, comes too soon, or holds no photo.
          ClientDisconnect: the browser broke off.
        """
        size = self._stated_size(request)
        try:
            self._limits.admit(owner, size)
        except Refused as refusal:
            headers = {"retry-after": f"{refusal.wait:.0f}"}
            raise HTTPException(429, str(refusal), headers) from refusal
        form = await _form(request)
        try:
            photo = form.get("files")
            if not isinstance(photo, UploadFile):
                raise HTTPException(400, _ONE_PHOTO)
            self._check_size(photo.size or 0)
            name = _plain_name(photo.filename or "")
            return await asyncio.to_thread(self._store, photo.file, name, owner)
        finally:
            await form.close()

    def copy(self, path: pathlib.Path, owner: str) -> pathlib.Path:
        """Stores a copy of a file as if the session had sent it; returns its path.

        Raises:
          Refused: it comes too soon.
        """
        self._limits.admit(owner, path.stat().st_size)
        with path.open("rb") as file:
            return self._store(file, path.name, owner)

    def _stated_size(self, request: Request) -> int:
        size = request.headers.get("content-length", "")
        if not size.isdecimal() or "transfer-encoding" in request.headers:
            raise HTTPException(411, "an upload has to state its size")
        self._check_size(int(size) - _FORM)
        return int(size)

    def _check_size(self, size: int) -> None:
        if size > self.max_size:
            raise HTTPException(413, f"a photo may have {self.max_size / 2**20:g} MB at most")

    def _store(self, photo: BinaryIO, name: str, owner: str) -> pathlib.Path:
        folder = self._files.new_folder()
        try:
            with (folder / name).open("xb") as file:
                shutil.copyfileobj(photo, file)
            self._files.add_upload(owner, folder)
        except BaseException:
            self._files.delete(folder)
            raise
        return folder / name


async def _form(request: Request) -> FormData:
    parser = _Parser(request.headers, request.stream(), max_files=1, max_fields=0)
    try:
        async with asyncio.timeout(_SECONDS):
            return await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise HTTPException(400, _ONE_PHOTO) from error
    except TimeoutError as error:
        raise HTTPException(408, f"an upload may take {_SECONDS} seconds") from error


def _plain_name(name: str) -> str:
    """Returns a name for a file of its own folder, like the one that the browser stated."""
    plain = _NAME.sub("_", name.replace("\\", "/").rpartition("/")[2])[-_LONGEST_NAME:]
    return plain.lstrip(". ") or "photo"
