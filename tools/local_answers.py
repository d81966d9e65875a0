"""What the Hub answers to a request, as far as `huggingface_hub` reads models: pure functions, no sockets.

The codes, headers and shapes are those that huggingface_hub 2.4 looks at (`hf_raise_for_status`,
`get_hf_file_metadata`, `ModelInfo`, `RepoFile`).
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, unquote, urlsplit

from local_repos import Repository, StoredFile

Headers = dict[str, str]
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request; the names of its headers are in lower case."""

    method: str
    target: str
    headers: Headers
    body: bytes = b""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    def query(self, name: str) -> str:
        return parse_qs(urlsplit(self.target).query).get(name, [""])[0]

    def wants(self, name: str) -> bool:
        return self.query(name).lower() in ("true", "1")


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes `span` of a file."""

    file: StoredFile
    span: range

    def __len__(self) -> int:
        return len(self.span)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Headers = field(default_factory=dict)
    body: bytes | Part = b""


class HubError(Exception):
    """The Hub's refusal, an answer like any other; the client turns `code` into its own exception."""

    def __init__(self, status: int, code: str = "", message: str = "", headers: Headers | None = None) -> None:
        super().__init__(message)
        named = {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}
        self.answer = json_answer({"error": message}, status, {name: value for name, value in named.items() if value})


@dataclass(frozen=True, slots=True)
class Site:
    """What the Hub holds, and who may read it: `token` alone opens the gated and private repositories."""

    url: str
    cdn_url: str
    ids: Callable[[], list[str]]
    repository: Callable[[str], Repository | None]
    blob: Callable[[str], StoredFile | None]
    gated: Collection[str]
    private: Collection[str]
    token: str | None
    moved: Mapping[str, str]
    page_size: int

    def visible(self, asked: Asked, repo: str) -> Repository:
        """The repository, unless this client may not even know that it exists."""
        repository = self.repository(repo)
        if repository is not None and (repo not in self.private or self._is_granted(asked)):
            return repository
        if asked.token:
            raise HubError(404, "RepoNotFound", "Repository not found")
        raise HubError(401, "RepoNotFound", "Invalid username or password.")

    def check_gate(self, asked: Asked, repo: str) -> None:
        if repo not in self.gated or self._is_granted(asked):
            return
        restricted = f"Access to model {repo} is restricted"
        if asked.token:
            raise HubError(403, "GatedRepo", f"{restricted} and you are not in the authorized list.")
        raise HubError(401, "GatedRepo", f"{restricted}. You must be authenticated to access it.")

    def _is_granted(self, asked: Asked) -> bool:
        return bool(asked.token) and asked.token == self.token


def answer(site: Site, asked: Asked) -> Answer:
    """The answer to a request; to a HEAD, that of the GET."""
    method = "GET" if asked.method == "HEAD" else asked.method
    try:
        for wanted, pattern, make in ROUTES:
            found = pattern.fullmatch(asked.path)
            if found and wanted == method:
                parts = {name: unquote(part) for name, part in found.groupdict().items() if part is not None}
                return _moved(site, asked, parts.get("repo", "")) or make(site, asked, **parts)
    except HubError as error:
        return error.answer
    return HubError(404, message="Sorry, we can't find the page you are looking for.").answer


def json_answer(value: object, status: int = 200, headers: Headers | None = None) -> Answer:
    kind = {"Content-Type": "application/json; charset=utf-8"}
    return Answer(status, kind | (headers or {}), json.dumps(value).encode())


def byte_range(header: str, size: int) -> range | None:
    """The bytes that a Range header asks of `size`: empty if it has none such, None for the whole file."""
    match = RANGE.fullmatch(header.strip())
    first, last = match.groups() if match else ("", "")
    if not first:
        return range(max(0, size - int(last)), size) if last else None
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size) if last else size)


def _info(site: Site, asked: Asked, repo: str, revision: str = "main") -> Answer:
    repository = _at(site.visible(asked, repo), revision)
    gated, private = repo in site.gated, repo in site.private
    return json_answer(repository.info(blobs=asked.wants("blobs"), gated=gated, private=private))


def _search(site: Site, asked: Asked) -> Answer:
    wanted, limit = asked.query("search").lower(), int(asked.query("limit") or 1000)
    expand = parse_qs(urlsplit(asked.target).query).get("expand", [])
    names = [repo for repo in site.ids() if wanted in repo.lower() and repo not in site.private]
    found = ((site.repository(repo), repo in site.gated) for repo in names[:limit])
    return json_answer([one.listed(expand, gated=gated) for one, gated in found if one])


def _tree(site: Site, asked: Asked, repo: str, revision: str, folder: str = "") -> Answer:
    repository = _at(site.visible(asked, repo), revision)
    entries = repository.tree(folder, recursive=asked.wants("recursive"), expand=asked.wants("expand"))
    if folder and not entries:
        raise _entry_not_found(repository)
    start = int(asked.query("cursor") or 0)
    stop = start + site.page_size
    return json_answer(entries[start:stop], headers=_next_page(site, asked, stop) if stop < len(entries) else {})


def _next_page(site: Site, asked: Asked, cursor: int) -> Headers:
    query = re.sub(r"&cursor=\d+", "", urlsplit(asked.target).query)
    return {"Link": f'<{site.url}{asked.path}?{query}&cursor={cursor}>; rel="next"'}


def _paths_info(site: Site, asked: Asked, repo: str, revision: str) -> Answer:
    repository = _at(site.visible(asked, repo), revision)
    return json_answer(repository.paths(parse_qs(asked.body.decode()).get("paths", [])))


def _resolve(site: Site, asked: Asked, repo: str, revision: str, name: str) -> Answer:
    repository = site.visible(asked, repo)
    site.check_gate(asked, repo)
    file = _at(repository, revision).files.get(name)
    if file is None:
        raise _entry_not_found(repository)
    about = {"X-Repo-Commit": repository.commit, "ETag": f'"{file.etag}"'}
    if file.sha256 is None:
        return _file(asked, file, about)
    linked = {"X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": str(file.size)}
    return Answer(302, about | linked | {"Location": f"{site.cdn_url}/cdn/{file.sha256}"})


def _cdn(site: Site, asked: Asked, sha256: str) -> Answer:
    file = site.blob(sha256)
    if file is None:
        raise HubError(404, message="No such key")
    if "authorization" in asked.headers:
        raise HubError(400, message="Only one auth mechanism allowed")
    return _file(asked, file, {"ETag": f'"{file.etag}"'})


def _file(asked: Asked, file: StoredFile, headers: Headers) -> Answer:
    is_unchanged = asked.headers.get("if-range", headers["ETag"]) == headers["ETag"]
    span = byte_range(asked.headers.get("range", ""), file.size) if is_unchanged else None
    kind = {"Content-Type": "application/octet-stream", "Content-Disposition": _disposition(file.name)}
    about = headers | kind | {"Accept-Ranges": "bytes"}
    if span is None:
        return Answer(200, about, Part(file, range(file.size)))
    if not span:
        raise HubError(416, message="Range not satisfiable", headers={"Content-Range": f"bytes */{file.size}"})
    place = {"Content-Range": f"bytes {span.start}-{span.stop - 1}/{file.size}"}
    return Answer(206, about | place, Part(file, span))


def _disposition(name: str) -> str:
    # The client shows this name beside its progress bar, and finds it only with the last semicolon.
    base = quote(name.rpartition("/")[2])
    return f"inline; filename*=UTF-8''{base}; filename=\"{base}\";"


def _moved(site: Site, asked: Asked, repo: str) -> Answer | None:
    if repo not in site.moved:
        return None
    return Answer(307, {"Location": asked.target.replace(repo, site.moved[repo], 1)})


def _at(repository: Repository, revision: str) -> Repository:
    if revision not in ("main", repository.commit):
        raise HubError(404, "RevisionNotFound", f"Invalid rev id: {quote(revision)}")
    return repository


def _entry_not_found(repository: Repository) -> HubError:
    return HubError(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": repository.commit})


_REPO = r"(?P<repo>[^/]+/[^/]+)"
_REVISION = r"(?P<revision>[^/]+)"
# An encoded slash is plain in the folder of `tree`, where the client sends it, but a trick in the file of `resolve`.
_FILE = r"(?P<name>(?:(?!%2[fF]).)+)"
ROUTES: tuple[tuple[str, re.Pattern[str], Callable[..., Answer]], ...] = (
    ("GET", re.compile(r"/api/models"), _search),
    ("GET", re.compile(rf"/api/models/{_REPO}(?:/revision/{_REVISION})?"), _info),
    ("GET", re.compile(rf"/api/models/{_REPO}/tree/{_REVISION}(?:/(?P<folder>.+))?"), _tree),
    ("POST", re.compile(rf"/api/models/{_REPO}/paths-info/{_REVISION}"), _paths_info),
    ("GET", re.compile(rf"/{_REPO}/resolve/{_REVISION}/{_FILE}"), _resolve),
    ("GET", re.compile(r"/cdn/(?P<sha256>[0-9a-f]{64})"), _cdn),
)
