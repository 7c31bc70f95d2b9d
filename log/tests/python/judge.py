"""Has an independent verifier judge a log directory in C2SP layout.

    python -I judge.py aics-tlog|tlog-scales DIRECTORY|URL LOG-VKEY [WITNESS-VKEY ...]

Prints one line. Exit status 0: accepted. 3: rejected, with the tool's reason. Anything else: the
tool did not come to a verdict.
"""

import os
import sys
from pathlib import Path

REJECTED = 3
# tlog-scales proves one record at a time, in Python: of large logs it proves this many, spread evenly.
PROOFS_MAX = 1000


def aics_tlog(log, log_vkey, witness_vkeys):
    """The checkpoint's signatures, then every tile and every bundle against its root."""
    import aics_tlog as tool

    if is_url(log):
        reader = tool.HttpTileReader(log, proxies={})
        checkpoint = reader.read_checkpoint()
    else:
        reader = tool.FileSystemTileReader(Path(log))
        checkpoint = (Path(log) / "checkpoint").read_bytes()
    note = tool.parse_note(checkpoint)
    result = tool.verify_checkpoint(
        note,
        tool.parse_vkey(log_vkey),
        [tool.parse_vkey(vkey) for vkey in witness_vkeys],
        quorum=len(witness_vkeys),
        expected_origin=log_vkey.split("+")[0],
    )
    if not result.ok:
        raise ValueError(result.error)
    report = tool.audit_tiles(reader, result.size, result.root)
    return f"{report.size} records, {report.tiles} tiles, {report.bundles} bundles"


def tlog_scales(location, log_vkey, witness_vkeys):
    """The checkpoint's signatures, the root from the tiles, then records with their proofs."""
    from tlog_scales import backend, reader, signing, tiles

    if not is_url(location):
        location = str(Path(location).resolve())
    log = reader.TilesReader(backend.make_backend(location))
    checkpoint = log.get_checkpoint()
    for vkey in [log_vkey, *witness_vkeys]:
        checkpoint.verify(signing.Vkey.from_string(vkey))
    size, root = checkpoint.size, checkpoint.root_hash
    if log.calculate_root_hash() != root:
        raise ValueError("the tiles have another root than the checkpoint")
    step = max(1, size // PROOFS_MAX)
    indexes = sorted({*range(0, size, step), *range(max(0, size - 2), size)})
    for index in indexes:
        proof = log.get_inclusion_proof(index, size)
        proof.check(tiles.leaf_hash(log.get_entry(index)), root)
    return f"{size} records, {len(indexes)} of them proven"


def is_url(location):
    return location.startswith("http://")


def main():
    tool, location, *vkeys = sys.argv[1:]
    # A server on this machine needs no proxy, whatever the environment says.
    os.environ["NO_PROXY"] = "127.0.0.1"
    judge = {"aics-tlog": aics_tlog, "tlog-scales": tlog_scales}[tool]
    try:
        print("accepted:", judge(location, vkeys[0], vkeys[1:]))
    except ImportError:
        raise
    except Exception as reason:  # Each tool has its own ways to say no.
        print(f"rejected: {type(reason).__name__}: {reason}")
        sys.exit(REJECTED)


main()
