"""client.py URL TOKEN COUNT BYTES KIND…: as clients/README says, with http.client's one connection."""

import http.client
import sys
import urllib.parse

FORM = "application/x-www-form-urlencoded"
ROW = b"x=" + str([0, 1] * 18 + [1]).encode()

url, token, count, size, *kinds = sys.argv[1:]
address = urllib.parse.urlsplit(url)
identity = {"X-Goog-IAP-JWT-Assertion": token}
connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)


def ask(path: str, body: bytes, headers: dict[str, str]) -> int:
    """Return the status; the connection is kept if the server keeps it."""
    connection.request("POST", path, body, headers)
    response = connection.getresponse()
    response.read()
    return response.status


for kind in kinds:
    status, path, content_type, encoding, known = kind.split("|")
    headers = {"Content-Type": content_type, **({"Content-Encoding": encoding} if encoding else {})}
    lost = 0
    for _ in range(int(count)):
        try:
            got = ask(path, b"z" * int(size), {**headers, **(identity if known else {})})
            if str(got) != status or ask("/", ROW, {"Content-Type": FORM, **identity}) != 200:
                raise OSError(f"{got} instead of {status}")
        except (OSError, http.client.HTTPException) as error:
            lost += 1
            sys.stderr.write(f"{error!r}\n")
            connection.close()
    sys.stdout.write(f"{status} {path} {lost}\n")
