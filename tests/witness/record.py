"""A proxy on loopback that writes down what goes through it, without the token.

Usage: record.py --to URL --file FILE     prints one JSON line with its address; ends when standard input does
"""

import argparse
import http.client
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PASSED_ON = ("authorization", "content-type", "accept", "user-agent")


class Recorder(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, to, file):
        super().__init__(("127.0.0.1", 0), Passing)
        self.to, self.file, self.lock = urlsplit(to).netloc, file, threading.Lock()
        self.address = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def note(self, exchange):
        with self.lock, open(self.file, "a") as out:
            out.write(json.dumps(exchange) + "\n")


class Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_any(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {k: v for k, v in self.headers.items() if k.lower() in PASSED_ON}
        onward = http.client.HTTPConnection(self.server.to, timeout=60)
        try:
            onward.request(self.command, self.path, body or None, headers)
            answer = onward.getresponse()
            answered = answer.read()
        except (OSError, http.client.HTTPException):
            # The cloud hung up; so do we.
            self.close_connection = True
            return
        finally:
            onward.close()
        # Written down before it is passed on: who has the answer finds it in the file.
        self.server.note(
            {
                "method": self.command,
                "path": self.path,
                "bearer": self.headers.get("authorization", "").startswith("Bearer "),
                "accepted": self.headers.get("accept"),
                "sent_type": self.headers.get("content-type"),
                "sent": body.decode(),
                "status": answer.status,
                "headers": {k.lower(): v for k, v in answer.getheaders()},
                "answered": answered.decode(),
            }
        )
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() in ("content-type", "location", "retry-after", "www-authenticate"):
                self.send_header(name, value)
        self.send_header("content-length", str(len(answered)))
        self.end_headers()
        self.wfile.write(answered)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_any  # noqa: N815 - the names of the base class

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--to", required=True)
    parser.add_argument("--file", required=True)
    options = parser.parse_args()
    with Recorder(options.to, options.file) as recorder:
        print(json.dumps({"address": recorder.address}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
