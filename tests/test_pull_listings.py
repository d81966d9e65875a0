"""What a Hub says of a repository, read with suspicion."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tiny import refused

from localchat.pull.hub import FILES_LIMIT, RemoteFile, Repo, repo_in

REPO, COMMIT = "acme/tiny", "0123456789abcdef0123456789abcdef01234567"
SHA1, SHA256 = "0" * 40, "1" * 64


def listing(*siblings: Any, **changes: Any) -> bytes:
    return json.dumps({"id": REPO, "sha": COMMIT, "siblings": list(siblings), **changes}).encode()


def sibling(name: Any, **changes: Any) -> dict[str, Any]:
    return {"rfilename": name, "size": 3, "blobId": SHA1, **changes}


def test_a_listing_is_read() -> None:
    found = repo_in(listing(sibling("config.json"), sibling("a/b.Q4_0.gguf", size=9, lfs={"sha256": SHA256})), REPO)
    assert found == Repo(REPO, COMMIT, {
        "config.json": RemoteFile("config.json", 3, None, SHA1),
        "a/b.Q4_0.gguf": RemoteFile("a/b.Q4_0.gguf", 9, SHA256, SHA1),
    })  # fmt: skip


HOSTILE = [
    "../x.gguf", "/x.gguf", "a/../x.gguf", "a//x.gguf", "x.gguf\x00", "C:x.gguf", "a\\x.gguf", "con.gguf", "a/aux.gguf",
    "x.gguf ", "a/b/c/d/e.gguf", "x" * 300 + ".gguf", "\x1b[31m.gguf", "", None, 7, ["x.gguf"], "sub/model.safetensors",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_names_with_tricks_are_left_out(name: Any) -> None:
    assert repo_in(listing(sibling(name, lfs={"sha256": SHA256})), REPO).files == {}


def test_of_names_that_differ_by_case_alone_the_first_is_taken() -> None:
    names = ("Model.gguf", "model.gguf", "\u00e9.gguf", "e\u0301.gguf")
    assert list(repo_in(listing(*map(sibling, names)), REPO).files) == [names[0], names[2]]


@pytest.mark.parametrize("size", [-1, 1 << 60, 1.5, "3", True, []])
def test_impossible_sizes_are_refused(size: Any) -> None:
    with refused("an impossible size"):
        repo_in(listing(sibling("model.gguf", size=size)), REPO)


def test_a_file_without_a_hash_is_left_out() -> None:
    strange = [sibling(f"{number}.gguf", blobId=blob, lfs=lfs) for number, (blob, lfs) in enumerate([
        (None, None), ("x" * 40, {"sha256": "../../etc"}), (7, {"sha256": 7}), ("", [SHA256]),
    ])]  # fmt: skip
    assert repo_in(listing(*strange), REPO).files == {}


NO_LISTINGS = [b"", b"[]", b"null", b"{}", b"<html>", b"[" * 100_000, listing(id="../../x"), listing(id=7)]


@pytest.mark.parametrize("text", NO_LISTINGS, ids=lambda text: ascii(text[:12]))
def test_what_is_no_listing_is_no_hub(text: bytes) -> None:
    with refused("does not answer as a Hub does"):
        repo_in(text, REPO)


@pytest.mark.parametrize("sha", ["", None, "main", "../../../etc", "A" * 40, 7])
def test_a_commit_is_a_hash(sha: Any) -> None:
    with refused("does not say which commit"):
        repo_in(listing(sha=sha), REPO)


def test_a_listing_of_too_many_files_is_refused() -> None:
    with refused("more than any model has"):
        repo_in(listing(*[{}] * (FILES_LIMIT + 1)), REPO)
