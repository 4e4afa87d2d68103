"""SMTP as far as this project speaks it: EHLO, AUTH, MAIL, RCPT, DATA, RSET, QUIT. Each step can be told what to answer."""

import base64
import socketserver
import threading
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

HOST = "127.0.0.1"
LINE_MAX = 4_096
#: An answer that is none: the connection is closed.
HANG_UP = "hang up"


@dataclass(frozen=True)
class Letter:
    """A letter as it came: from whom and to whom by the envelope, and what is in it."""

    sender: str
    to: tuple[str, ...]
    raw: bytes

    @property
    def parsed(self) -> EmailMessage:
        """Return its headers and its text."""
        return message_from_bytes(self.raw, policy=policy.default)


@dataclass
class SmtpServer:
    """A mail server on a port of this machine. As a context manager it starts and closes itself.

    ``answers`` says what to answer to a step instead of yes, by its word, such as ``{"RCPT": "550 unknown"}``; ``RCPT anna@…`` is
    the step for one address. ``silent``: steps that get no answer at all. With a password, AUTH is offered and needed.
    """

    user: str = ""
    password: str = ""
    answers: dict[str, str] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    letters: list[Letter] = field(default_factory=list)
    connections: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "SmtpServer":
        self._tcp = _Tcp((HOST, 0), _Conversation)
        self._tcp.smtp = self
        self._thread = threading.Thread(target=self._tcp.serve_forever, args=(0.05,), name="smtp", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._tcp.shutdown()
        self._tcp.server_close()
        self._thread.join(5)

    @property
    def port(self) -> int:
        return int(self._tcp.server_address[1])

    @property
    def url(self) -> str:
        """Return the URL for EMAIL_URL."""
        sign_in = f"{self.user.replace('@', '%40')}:{self.password}@" if self.password else ""
        return f"smtp://{sign_in}{HOST}:{self.port}"


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    smtp: SmtpServer


class _Conversation(socketserver.StreamRequestHandler):
    timeout = 30
    server: _Tcp

    def handle(self) -> None:
        self.server.smtp.connections += 1
        self._sender, self._to, self._signed_in = "", [""], False
        if not self._say("CONNECT", "220 loopback"):
            return
        while line := self.rfile.readline(LINE_MAX):
            text = line.decode(errors="replace").strip()
            word = text.split(" ")[0].upper()
            if not self._step(word, text) or word == "QUIT":
                return

    def _step(self, word: str, text: str) -> bool:
        """Answer one command; return whether the conversation goes on."""
        smtp = self.server.smtp
        if word == "EHLO":
            offered = ["250-loopback", *(["250-AUTH PLAIN"] if smtp.password else []), "250 SIZE 1000000"]
            return self._say(word, "\r\n".join(offered))
        if word == "AUTH":
            return self._say(word, self._auth(text))
        if word == "MAIL":
            self._sender, self._to = text.partition(":")[2].split(">")[0].strip("<"), []
            needs = smtp.password and not self._signed_in
            return self._say(word, "530 sign in first" if needs else "250 ok")
        if word == "RCPT":
            address = text.partition(":")[2].split(">")[0].strip("<")
            said = smtp.answers.get(f"RCPT {address}", smtp.answers.get("RCPT", "250 ok"))
            self._to += [address] if said.startswith("2") else []
            return self._say("", said)
        if word == "DATA":
            return self._say("BEGIN", "354 go on") and self._data()
        known = {"HELO", "RSET", "NOOP"}
        return self._say(word, "221 bye" if word == "QUIT" else "250 ok" if word in known else "502 not known")

    def _data(self) -> bool:
        lines = []
        while (line := self.rfile.readline(LINE_MAX)) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        if "DATA" not in self.server.smtp.answers and "DATA" not in self.server.smtp.silent:
            self.server.smtp.letters.append(Letter(self._sender, tuple(self._to), b"".join(lines)))
        return self._say("DATA", "250 taken")

    def _auth(self, text: str) -> str:
        try:
            _, user, password = base64.b64decode(text.split(" ")[2]).decode().split("\0")
        except (IndexError, ValueError):
            return "501 not understood"
        self._signed_in = (user, password) == (self.server.smtp.user, self.server.smtp.password)
        return "235 welcome" if self._signed_in else "535 wrong"

    def _say(self, word: str, usual: str) -> bool:
        smtp = self.server.smtp
        if word in smtp.silent:
            smtp.closing.wait(30)
            return False
        said = smtp.answers.get(word, usual)
        if said == HANG_UP:
            return False
        self.wfile.write(f"{said}\r\n".encode())
        return True
