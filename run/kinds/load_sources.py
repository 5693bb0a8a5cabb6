"""The files of one load job: which of them it can take, whether they are those that arrived, and which it calls bad."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from run.clients.storage import LONGEST_PAGE, Storage
from run.errors import BadFiles, PassingFailure, PermanentFailure, TaskFailure, Unavailable
from run.kinds.kind import ObjectVersion, TakenFile
from run.kinds.load_options import MOST_FILES, FileFormat, LoadFileConfig, format_of

#: As many files as an error spells out.
_MOST_NAMED = 5


def format_of_all(config: LoadFileConfig, files: Sequence[TakenFile]) -> FileFormat:
    """How the files are written; raises PermanentFailure when one job cannot load all of them, or BadFiles."""
    if len(files) > MOST_FILES:
        raise PermanentFailure(f"there are {len(files):,} files, and BigQuery loads at most {MOST_FILES:,} in one job")
    kind = config.format or _format_of_names(files)
    wrong = {file.file_log_id: reason for file in files if (reason := _why_not_loadable(file.place, kind))}
    if wrong:
        raise refusal(config, files, wrong, PermanentFailure(_told(wrong.values())))
    packed = {file.place.name.lower().endswith(".gz"): file for file in files}
    if len(packed) > 1:
        raise PermanentFailure(
            f"{packed[True].place.uri} is compressed and {packed[False].place.uri} is not; BigQuery loads the one or "
            "the other in one job"
        )
    return kind


def _format_of_names(files: Sequence[TakenFile]) -> FileFormat:
    first: dict[FileFormat, TakenFile] = {}
    for file in files:
        kind = format_of(file.landed.name)
        if kind is None:
            raise PermanentFailure(
                f"the name of {file.landed.uri} does not tell its format; write format: csv, or another"
            )
        first.setdefault(kind, file)
    if len(first) > 1:
        told = " and ".join(f"{file.landed.uri} is {kind}" for kind, file in first.items())
        raise PermanentFailure(f"{told}; one job loads files of one format")
    return next(iter(first))


def _why_not_loadable(place: ObjectVersion, kind: FileFormat) -> str | None:
    if "*" in place.name:
        return f"{place.uri}: BigQuery reads '*' as a wildcard and cannot load this name; rename it"
    if "//" in place.name:
        return f"{place.uri}: BigQuery cannot load a name with '//' in it; rename it"
    if place.name.lower().endswith(".gz") and kind.describes_itself:
        return f"{place.uri}: BigQuery reads gzip for CSV and JSON only, and this is {kind}"
    return None


def refusal(
    config: LoadFileConfig, files: Sequence[TakenFile], wrong: Mapping[int, str], failure: TaskFailure
) -> TaskFailure:
    """The failure; where bad files are set aside, and some are left without them, it says which those are."""
    if config.on_bad_file == "fail" or not wrong or len(wrong) == len(files):
        return failure
    told = f"{len(wrong):,} of {len(files):,} files are set aside, and the next attempt loads the others: "
    return BadFiles(told + _told(wrong.values()), wrong, failure.details)


def named_in(errors: Sequence[Mapping[str, Any]], files: Sequence[TakenFile]) -> dict[int, str]:
    """The files that errors of a job call bad, by their ids in the file log, each with what is said of it.

    An error names a file as its `location` or in its words, as `gs://bucket/object`:
    https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/ErrorProto
    """
    by_uri = {file.place.uri: file for file in files}
    found: dict[int, str] = {}
    for error in errors:
        # Only what the bytes of a file are blamed for; whoever may not read it would not read the next one either.
        if error.get("reason") == "invalid":
            told = str(error.get("message") or "BigQuery calls it invalid and says no more")
            for uri in _uris_in(f"{error.get('location') or ''} {told}", by_uri):
                found.setdefault(by_uri[uri].file_log_id, told)
    return found


def _uris_in(text: str, known: Mapping[str, object]) -> Iterator[str]:
    """The known addresses in a text; where one begins like another, the longer one is meant."""
    at = text.find("gs://")
    while at >= 0:
        longest = max((uri for uri in known if text.startswith(uri, at)), key=len, default=None)
        if longest is not None:
            yield longest
        at = text.find("gs://", at + 1)


def check_generations(storage: Storage, wanted: Sequence[ObjectVersion], *, page_size: int = LONGEST_PAGE) -> None:
    """Fail when one of the objects is not of the generation that arrived, or is gone."""
    try:
        found = _found(storage, wanted, page_size)
    except PassingFailure as failure:
        raise Unavailable(str(failure)) from failure
    gone = [one for one in wanted if (one.bucket, one.name) not in found]
    if gone:
        raise PassingFailure(
            _of_first(
                gone,
                f"{gone[0].uri} is gone; its generation {gone[0].generation} was to be "
                "loaded. A new attempt looks for it where it was moved to",
            )
        )
    changed = [one for one in wanted if found[one.bucket, one.name] != one.generation]
    if changed:
        now = found[changed[0].bucket, changed[0].name]
        raise PermanentFailure(
            _of_first(
                changed,
                f"{changed[0].uri} has changed: its generation is {now}, and {changed[0].generation} was to be "
                "loaded; the newer one has a notification of its own",
            ),
            {"wanted_generation": changed[0].generation, "found_generation": now},
        )


def _of_first(affected: Sequence[ObjectVersion], told: str) -> str:
    return told if len(affected) == 1 else f"{told} ({len(affected):,} files are like this)"


def _found(storage: Storage, wanted: Sequence[ObjectVersion], size: int) -> dict[tuple[str, str], int]:
    """The live generations of the objects, by bucket and name."""
    if len(wanted) == 1:
        found = storage.find(wanted[0].bucket, wanted[0].name)
        return {} if found is None else {(found.bucket, found.name): found.generation}
    names: defaultdict[str, list[str]] = defaultdict(list)
    for one in wanted:
        names[one.bucket].append(one.name)
    pages = (_listed(storage, bucket, sorted(names[bucket]), size) for bucket in names)
    return {key: generation for listed in pages for key, generation in listed}


def _listed(storage: Storage, bucket: str, names: Sequence[str], size: int) -> Iterator[tuple[tuple[str, str], int]]:
    """The live generations in a bucket from each of these sorted names on, by pages that may each hold many of them."""
    at, token = 0, None
    while at < len(names):
        page = storage.list_page(bucket, "", token, start=names[at], size=size)
        yield from (((bucket, one.name), one.generation) for one in page.objects)
        if page.next_token is None:
            return
        # A page may be empty; then only its token leads on.
        token = None if page.objects else page.next_token
        at = bisect_right(names, page.objects[-1].name) if page.objects else at


def _told(reasons: Iterable[str]) -> str:
    listed = list(reasons)
    more = f" (and {len(listed) - _MOST_NAMED:,} more)" if len(listed) > _MOST_NAMED else ""
    return "; ".join(listed[:_MOST_NAMED]) + more
