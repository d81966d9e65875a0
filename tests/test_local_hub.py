"""The local Hub, asked by the real `huggingface_hub` client and by hand."""

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha1, sha256
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import local_hub
import pytest
from huggingface_hub import HfApi, constants, file_download, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from local_answers import byte_range
from local_hub import LocalHub, Served

PROGRAM = Path(local_hub.__file__)
REPO = "acme/tiny"
WEIGHTS = bytes(range(256)) * 1200
FILES = {
    "config.json": b'{"layers": 2}\n',
    "tokenizer.model": b"pieces",
    "model.safetensors": WEIGHTS,
    "onnx/more/notes.txt": b"",
    "onnx/a file ü.txt": b"hello\n",
}
HEX_COMMIT = "0123456789abcdef" * 2 + "01234567"

Download = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "hub" / REPO / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "hub"


@pytest.fixture
def hub(root: Path) -> Iterator[LocalHub]:
    with LocalHub(root) as hub:
        yield hub


@pytest.fixture
def download(tmp_path: Path) -> Download:
    def fetch(hub: LocalHub, name: str, repo: str = REPO, **options: Any) -> Path:
        return Path(hf_hub_download(repo, name, endpoint=hub.url, cache_dir=tmp_path / "cache", **options))

    return fetch


def get(address: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """A plain GET, redirects followed, that returns refusals instead of raising them."""
    request = Request(address, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        answer = urlopen(request, timeout=60)
    except HTTPError as refusal:
        answer = refusal
    with answer:
        return answer.status, dict(answer.headers), answer.read()


def resolve(hub: LocalHub, name: str) -> str:
    return f"{hub.url}/{REPO}/resolve/main/{name}"


# What a repository says of itself


def test_model_info_lists_the_files_and_a_commit(hub: LocalHub) -> None:
    info = HfApi(endpoint=hub.url).model_info(REPO)
    assert (info.id, info.gated, info.private, info.tags) == (REPO, False, False, [])
    assert len(info.sha or "") == 40
    assert info.last_modified is not None
    assert [file.rfilename for file in info.siblings or []] == sorted(FILES)


def test_file_metadata_tells_git_files_from_lfs_files(hub: LocalHub) -> None:
    info = HfApi(endpoint=hub.url).model_info(REPO, files_metadata=True)
    files = {file.rfilename: file for file in info.siblings or []}
    assert {name: file.size for name, file in files.items()} == {name: len(data) for name, data in FILES.items()}
    # `git hash-object` of an empty file and of "hello\n".
    assert files["onnx/more/notes.txt"].blob_id == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert files["onnx/a file ü.txt"].blob_id == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert [name for name, file in files.items() if file.lfs] == ["model.safetensors", "tokenizer.model"]
    lfs = files["model.safetensors"].lfs
    assert lfs is not None
    assert (lfs.sha256, lfs.size, lfs.pointer_size) == (sha256(WEIGHTS).hexdigest(), len(WEIGHTS), 131)


def test_the_commit_follows_the_content(root: Path) -> None:
    def commit() -> str | None:
        with LocalHub(root) as hub:
            return HfApi(endpoint=hub.url).model_info(REPO).sha

    first = commit()
    assert commit() == first
    (root / REPO / "config.json").write_text("{}")
    assert commit() != first


def test_linked_checkpoints_are_served_and_their_caches_are_not(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / ".cache").mkdir(parents=True)
    (tmp_path / "elsewhere" / ".cache" / "lock").touch()
    (tmp_path / "elsewhere" / "big.bin").write_bytes(b"0" * 10)
    (root / REPO / "linked").symlink_to(tmp_path / "elsewhere")
    (root / REPO / "gone.bin").symlink_to(tmp_path / "missing")
    with LocalHub(root) as hub:
        assert set(HfApi(endpoint=hub.url).list_repo_files(REPO)) - set(FILES) == {"linked/big.bin"}


def test_tree_lists_one_folder_or_all(hub: LocalHub) -> None:
    api = HfApi(endpoint=hub.url)

    def paths(folder: str | None = None, **options: Any) -> list[str]:
        return [entry.path for entry in api.list_repo_tree(REPO, folder, **options)]

    assert paths() == ["config.json", "model.safetensors", "onnx", "tokenizer.model"]
    assert paths(recursive=True) == sorted([*FILES, "onnx", "onnx/more"])
    assert paths("onnx") == ["onnx/a file ü.txt", "onnx/more"]
    assert paths("onnx/more", expand=True) == ["onnx/more/notes.txt"]
    with pytest.raises(EntryNotFoundError):
        paths("nowhere")


def test_tree_comes_in_pages(root: Path) -> None:
    with LocalHub(root, page_size=2) as hub:
        entries = list(HfApi(endpoint=hub.url).list_repo_tree(REPO, recursive=True))
        assert [entry.path for entry in entries] == sorted([*FILES, "onnx", "onnx/more"])
        assert len(hub.requests) == 4


def test_paths_info_leaves_out_what_is_missing(hub: LocalHub) -> None:
    found = HfApi(endpoint=hub.url).get_paths_info(REPO, ["model.safetensors", "onnx", "nothing"])
    assert [entry.path for entry in found] == ["model.safetensors", "onnx"]


# Downloads


@pytest.mark.parametrize("name", FILES)
def test_downloads_are_the_bytes_on_disk(hub: LocalHub, download: Download, name: str) -> None:
    assert download(hub, name).read_bytes() == FILES[name]


def test_a_download_asks_the_hub_once_and_takes_weights_from_the_cdn(hub: LocalHub, download: Download) -> None:
    download(hub, "config.json", token="hf_secret")
    download(hub, "model.safetensors", token="hf_secret")
    assert hub.requests == [
        Served("HEAD", f"/{REPO}/resolve/main/config.json", 200, None),
        Served("GET", f"/{REPO}/resolve/main/config.json", 200, None),
        Served("HEAD", f"/{REPO}/resolve/main/model.safetensors", 302, None),
        Served("GET", f"/cdn/{sha256(WEIGHTS).hexdigest()}", 200, None),
    ]


def test_snapshot_into_a_folder(hub: LocalHub, tmp_path: Path) -> None:
    snapshot_download(REPO, endpoint=hub.url, local_dir=tmp_path / "copy")
    assert {name: (tmp_path / "copy" / name).read_bytes() for name in FILES} == FILES


def test_etags_are_the_hashes_that_git_and_lfs_keep(hub: LocalHub) -> None:
    metadata = file_download.get_hf_file_metadata(resolve(hub, "model.safetensors"))
    assert (metadata.etag, metadata.size) == (sha256(WEIGHTS).hexdigest(), len(WEIGHTS))
    assert metadata.location.startswith(hub.cdn_url)
    small = FILES["config.json"]
    expected = sha1(b"blob %d\0%b" % (len(small), small)).hexdigest()
    assert file_download.get_hf_file_metadata(resolve(hub, "config.json")).etag == expected


def test_the_cdn_refuses_a_token(hub: LocalHub) -> None:
    location = file_download.get_hf_file_metadata(resolve(hub, "model.safetensors")).location
    assert get(location)[0] == 200
    assert get(location, Authorization="Bearer hf_secret")[0] == 400


def test_rate_is_shared_by_all_downloads(root: Path) -> None:
    with LocalHub(root, rate=len(WEIGHTS) * 4) as hub:
        started = time.monotonic()
        assert get(resolve(hub, "model.safetensors"))[2] == WEIGHTS
        assert time.monotonic() - started > 0.2


# Refusals


def test_unknown_things_have_their_own_errors(hub: LocalHub, download: Download) -> None:
    api = HfApi(endpoint=hub.url)
    with pytest.raises(RevisionNotFoundError):
        api.model_info(REPO, revision="v9")
    with pytest.raises(RevisionNotFoundError):
        download(hub, "config.json", revision="refs/pr/1")
    with pytest.raises(EntryNotFoundError):
        download(hub, "nothing.json")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("acme/nothing", token=False)
    with pytest.raises(RepositoryNotFoundError):
        download(hub, "config.json", repo="acme/nothing", token="hf_any")
    assert [served.status for served in hub.requests] == [404, 404, 404, 401, 404]


def test_the_commit_is_a_revision(hub: LocalHub, download: Download) -> None:
    commit = HfApi(endpoint=hub.url).model_info(REPO).sha
    assert download(hub, "config.json", revision=commit).read_bytes() == FILES["config.json"]
    with pytest.raises(RevisionNotFoundError):
        download(hub, "config.json", revision=HEX_COMMIT)


@pytest.mark.parametrize(("token", "status"), [(False, 401), ("hf_other", 403)])
def test_a_gated_repository_shows_its_facts_only(root: Path, download: Download, token: Any, status: int) -> None:
    with LocalHub(root, gated=[REPO], token="hf_granted") as hub:
        assert HfApi(endpoint=hub.url, token=token).model_info(REPO).gated == "manual"
        with pytest.raises(GatedRepoError) as refusal:
            download(hub, "config.json", token=token)
        assert refusal.value.response.status_code == status


@pytest.mark.parametrize(("token", "status"), [(False, 401), ("hf_other", 404)])
def test_a_private_repository_seems_missing(root: Path, token: Any, status: int) -> None:
    with LocalHub(root, private=[REPO], token="hf_granted") as hub:
        with pytest.raises(RepositoryNotFoundError) as refusal:
            HfApi(endpoint=hub.url, token=token).model_info(REPO)
        assert refusal.value.response.status_code == status
        assert not isinstance(refusal.value, GatedRepoError)


def test_the_granted_token_reads_everything(root: Path, download: Download) -> None:
    with LocalHub(root, gated=[REPO], private=[REPO], token="hf_granted") as hub:
        assert HfApi(endpoint=hub.url, token="hf_granted").model_info(REPO).private is True
        assert download(hub, "model.safetensors", token="hf_granted").read_bytes() == WEIGHTS


def test_a_moved_repository_is_found_by_its_old_name(root: Path, download: Download) -> None:
    with LocalHub(root, moved={"old/name": REPO}) as hub:
        api = HfApi(endpoint=hub.url)
        assert api.model_info("old/name").id == REPO
        assert len(api.get_paths_info("old/name", ["config.json"])) == 1
        assert download(hub, "model.safetensors", repo="old/name").read_bytes() == WEIGHTS
        assert hub.requests[0].status == 307


ESCAPES = [
    f"/{REPO}/resolve/main/../../../secret",
    f"/{REPO}/resolve/main/%2e%2e/%2e%2e/secret",
    f"/{REPO}/resolve/main/..%2f..%2fsecret",
    f"/{REPO}/resolve/main//etc/passwd",
    f"/{REPO}/resolve/main/%2fetc%2fpasswd",
    f"/{REPO}/resolve/main/onnx%2Fmore%2Fnotes.txt",
    f"/api/models/{REPO}/tree/main/..%2F..",
]


@pytest.mark.parametrize("path", ESCAPES)
def test_no_path_leads_out_of_the_repository(hub: LocalHub, tmp_path: Path, path: str) -> None:
    (tmp_path / "hub" / "secret").touch()
    (tmp_path / "secret").touch()
    connection = http.client.HTTPConnection(urlsplit(hub.url).netloc, timeout=60)
    connection.request("GET", path)
    assert connection.getresponse().status == 404
    connection.close()


@pytest.mark.parametrize("repo", ["../hub", "acme/..", "%2e%2e/hub", "acme"])
def test_no_id_leads_out_of_the_root(hub: LocalHub, repo: str) -> None:
    assert get(f"{hub.url}/api/models/{repo}")[0] in (401, 404)


def test_anything_else_is_not_found_and_keeps_the_connection(hub: LocalHub) -> None:
    connection = http.client.HTTPConnection(urlsplit(hub.url).netloc, timeout=60)
    for method in ("POST", "DELETE", "GET"):
        connection.request(method, "/api/telemetry", body=b"x" * 1000)
        answer = connection.getresponse()
        assert answer.status == 404
        assert "error" in json.loads(answer.read())
    connection.close()


# Ranges

RANGES = [
    ("", None),
    ("bytes=0-", range(100)),
    ("bytes=10-19", range(10, 20)),
    ("bytes=90-", range(90, 100)),
    ("bytes=90-500", range(90, 100)),
    ("bytes=-10", range(90, 100)),
    ("bytes=-500", range(100)),
    ("bytes=100-", range(0)),
    ("bytes=-0", range(0)),
    ("bytes=9-3", None),
    ("bytes=-", None),
    ("bytes=0-1,5-6", None),
    ("lines=0-1", None),
]


@pytest.mark.parametrize(("header", "expected"), RANGES)
def test_a_range_header_names_bytes(header: str, expected: range | None) -> None:
    assert byte_range(header, 100) == expected


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_ranges_are_served_in_part(hub: LocalHub, name: str) -> None:
    content, size = FILES[name], len(FILES[name])
    status, headers, body = get(resolve(hub, name), Range="bytes=5-")
    assert (status, body, headers["Content-Range"]) == (206, content[5:], f"bytes 5-{size - 1}/{size}")
    status, headers, _ = get(resolve(hub, name), Range=f"bytes={size}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{size}")


def test_if_range_gives_the_whole_of_a_changed_file(hub: LocalHub) -> None:
    etag = get(resolve(hub, "model.safetensors"))[1]["ETag"]
    assert get(resolve(hub, "model.safetensors"), Range="bytes=5-", If_Range=etag)[0] == 206
    assert get(resolve(hub, "model.safetensors"), Range="bytes=5-", If_Range='"other"')[0] == 200
    hub.lie = "changed-etag"
    status, headers, _ = get(resolve(hub, "model.safetensors"), Range="bytes=5-", If_Range=etag)
    assert (status, headers["ETag"] == etag) == (200, False)


# Faults


def test_the_client_resumes_a_download_that_is_cut(
    hub: LocalHub, download: Download, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client writes in pieces of 10 MiB, and what it has of a piece is lost with the connection.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cut_after(10_500)
    assert download(hub, "model.safetensors").read_bytes() == WEIGHTS
    assert [served.range for served in hub.requests] == [None, None, "bytes=10000-"]
    assert naps == [1]


def test_a_cut_waits_for_a_body_that_is_long_enough(hub: LocalHub) -> None:
    hub.cut_after(1000)
    assert get(resolve(hub, "config.json"))[2] == FILES["config.json"]
    with pytest.raises(http.client.IncompleteRead) as cut:
        get(resolve(hub, "model.safetensors"))
    assert cut.value.partial == WEIGHTS[:1000]
    assert get(resolve(hub, "model.safetensors"))[2] == WEIGHTS


def test_too_many_requests_are_retried(hub: LocalHub, download: Download, naps: list[float]) -> None:
    hub.fail_next(2, 429, within="/cdn/")
    assert download(hub, "model.safetensors").read_bytes() == WEIGHTS
    assert [served.status for served in hub.requests] == [302, 429, 429, 200]
    assert naps == [1, 1]


def test_a_failure_of_the_cdn_is_not_retried(hub: LocalHub, download: Download, naps: list[float]) -> None:
    hub.fail_next(1, 503, within="/cdn/")
    with pytest.raises(HfHubHTTPError, match="503"):
        download(hub, "model.safetensors")
    assert naps == []
    assert download(hub, "model.safetensors").read_bytes() == WEIGHTS


def test_a_failure_of_the_facts_is_not_retried(hub: LocalHub) -> None:
    hub.fail_next(1, 500, within="/api/")
    with pytest.raises(HfHubHTTPError, match="500"):
        HfApi(endpoint=hub.url).model_info(REPO)
    assert HfApi(endpoint=hub.url).model_info(REPO).id == REPO


def test_a_failure_of_the_hub_is_retried(hub: LocalHub, download: Download, naps: list[float]) -> None:
    hub.fail_next(3, 503)
    assert download(hub, "config.json").read_bytes() == FILES["config.json"]
    assert [served.status for served in hub.requests] == [503, 503, 503, 200, 200]
    assert naps == [1, 1]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_short_body_is_an_error(hub: LocalHub, download: Download, name: str) -> None:
    hub.lie = "short-body"
    with pytest.raises(OSError, match="Consistency check failed"):
        download(hub, name)


def test_altered_bytes_pass_the_client(hub: LocalHub, download: Download) -> None:
    hub.lie = "wrong-hash"
    content = download(hub, "model.safetensors").read_bytes()
    assert content != WEIGHTS
    assert len(content) == len(WEIGHTS)


def test_a_hub_that_ignores_ranges_sends_everything(hub: LocalHub) -> None:
    hub.lie = "200-for-206"
    assert get(resolve(hub, "model.safetensors"), Range="bytes=5-")[::2] == (200, WEIGHTS)


def test_a_closed_hub_is_gone(root: Path, download: Download, naps: list[float]) -> None:
    with LocalHub(root) as hub:
        HfApi(endpoint=hub.url).model_info(REPO)
    with pytest.raises(LocalEntryNotFoundError):
        download(hub, "config.json")
    assert naps == [1, 2, 4, 8, 8]


def test_closing_ends_a_slow_download(root: Path) -> None:
    with LocalHub(root, rate=1000) as hub, urlopen(resolve(hub, "model.safetensors"), timeout=60) as answer:
        assert answer.read(10) == WEIGHTS[:10]
        hub.__exit__()
        with suppress(http.client.IncompleteRead, ConnectionError):
            assert len(answer.read()) < len(WEIGHTS)


# The program


def test_the_program_prints_its_address_and_ends_by_ctrl_c(root: Path) -> None:
    command = [sys.executable, str(PROGRAM), str(root), "--gated", REPO, "--moved", f"old/name={REPO}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            info = HfApi(endpoint=program.stdout.readline().strip()).model_info("old/name")
            assert (info.id, info.gated) == (REPO, "manual")
            program.send_signal(signal.SIGINT)
            assert program.wait(60) == 0
        finally:
            program.kill()
