"""A local server with the Hugging Face Hub's protocol, for unmodified clients; uses the standard library only.

    with HubServer() as hub:
        hub.add_repo("alice/set", files={"README.md": b"# Mine"})
        huggingface_hub.HfApi(endpoint=hub.url, token=hub.token("alice")).dataset_info("alice/set")

| file | content |
|---|---|
| `history.py` | a repository: immutable trees, commits, branches, tags, pull requests |
| `hub.py` | all repositories, who may read and write them, large files, search |
| `cards.py` | the fields that the Hub reads in a card |
| `exchange.py` | a request, a response, an error, the table of routes |
| `repo_routes.py`, `file_routes.py`, `upload_routes.py`, `xet.py` | the routes |
| `faults.py` | injected faults |
| `server.py` | sockets: the Hub and, as another origin, its content delivery network |

It implements the requests that huggingface_hub 1.31 to 2.4 and `datasets` 5.2 send and the fields that they read;
the status codes, error codes and messages in huggingface_hub's sources and tests; the git LFS batch API; and the
published layout of Xet shards. Uploads are atomic, guarded by the parent commit; binary and large files are handled
as LFS files; links of the delivery network need no token, and a token that is sent anyway is recorded.

It cannot prove that the live Hub behaves the same. It checks no license name and little of a card's YAML, converts
nothing to parquet, has no dataset viewer, no quotas, no scanning of files, no TLS (so the client's rule that a
bare 401 over https means "not found" is not exercised), and limits rates only on request of a test. Its commit names
are hashes, but not git's. With Xet, tokens follow the client, and the store is hf_xet's own on the local disk,
so nothing is learned about Xet's servers. `tests/storage/hub/test_online.py` uses the live Hub.
"""

from hub_server.faults import Fault as Fault
from hub_server.server import HubServer as HubServer
