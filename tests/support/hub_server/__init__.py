"""The Hugging Face Hub's protocol on the loopback, for clients that know nothing of it: only standard library.

    with HubServer() as hub:
        hub.add_repo("alice/set", files={"README.md": b"# Mine"})
        huggingface_hub.HfApi(endpoint=hub.url, token=hub.token("alice")).dataset_info("alice/set")

| file | holds |
|---|---|
| `history.py` | a repository: immutable trees, commits, branches, tags, pull requests |
| `hub.py` | all repositories, who may read and write them, large files, search |
| `cards.py` | what the Hub reads in a card |
| `exchange.py` | a request, a response, an error, the table of routes |
| `repo_routes.py`, `file_routes.py`, `upload_routes.py`, `xet.py` | the routes |
| `faults.py` | what goes wrong on purpose |
| `server.py` | sockets: the Hub and, as another origin, its content delivery network |

What it follows: the requests that huggingface_hub 1.31 to 2.4 and `datasets` 5.2 send and the fields that they read,
as their sources have them; status codes, error codes and messages that huggingface_hub's sources and tests name; the
git LFS batch API; the published layout of Xet shards. Uploads are atomic, guarded by the parent commit; files that
are binary or large go the way of large files; the network's links need no token, and one that is sent is noted.

What it cannot prove: that the live Hub does the same. It checks no license name and little of a card's YAML, converts
nothing to parquet, has no dataset viewer, no quotas, no scanning of files, no TLS (so that the client's rule that a
bare 401 over https means "not found" is not met), and limits rates only where a test says so. Its commit names are
hashes, but not git's. With Xet, tokens are what the client asks for, and the store is hf_xet's own on the local disk,
so nothing is learned about Xet's servers. `tests/test_hub_online.py` asks the live Hub.
"""

from hub_server.faults import Fault as Fault
from hub_server.server import HubServer as HubServer
