"""Clients of three protocols behind one interface, in which a return means a positive reply and nothing else does."""

import ftplib
import logging
import socket
import ssl

import paramiko
from paramiko import sftp as packets
from paramiko.sftp_attr import SFTPAttributes

from .server import PASSWORD

PROTOCOLS = ("ftp", "ftps", "sftp")
SECONDS = 20
CHUNK = 32_000
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


class Refused(Exception):
    """A status other than OK: its number, and what the server says."""


#: What a negative reply raises, and what a broken connection does.
REFUSALS = (Refused, ftplib.Error)
BREAKS = (OSError, EOFError, paramiko.SSHException)


class Ftp:
    """FTP in clear, or with explicit TLS on both connections."""

    def __init__(self, server, tls):
        self.tls = tls
        self.ftp = ftplib.FTP_TLS(context=unverified(), timeout=SECONDS) if tls else ftplib.FTP(timeout=SECONDS)
        self.ftp.connect(*server.addresses["ftp"])
        self.ftp.login("acme", PASSWORD)
        if tls:
            self.ftp.prot_p()

    def put(self, path, data, offset=0, how="rest", acknowledge=lambda length: None):
        """Sends `data` from `offset` on; `how` is rest (REST and STOR) or append (APPE)."""
        self.ftp.voidcmd("TYPE I")
        verb = "APPE" if how == "append" and offset else "STOR"
        with self.ftp.transfercmd(f"{verb} {path}", offset if verb == "STOR" and offset else None) as connection:
            try:
                for at in range(offset, len(data), CHUNK):
                    connection.sendall(data[at : at + CHUNK])
                if self.tls:
                    connection.unwrap()
            except OSError:
                # A server that refuses in mid-transfer hangs up first, and then says why.
                self.ftp.voidresp()
                raise
        reply = self.ftp.voidresp()
        if reply[:3] != "226":
            raise ftplib.error_reply(reply)

    def size(self, path):
        """Bytes that stand or are held under that name; None where there is nothing."""
        try:
            self.ftp.voidcmd("TYPE I")
            return self.ftp.size(path)
        except ftplib.error_perm:
            return None

    def get(self, path):
        pieces = []
        self.ftp.retrbinary(f"RETR {path}", pieces.append)
        return b"".join(pieces)

    def rename(self, old, new):
        self.ftp.rename(old, new)

    def mkdir(self, path):
        self.ftp.mkd(path)

    def close(self):
        self.ftp.close()


class Packets(paramiko.SFTPClient):
    """Tells a refusal from a lost connection, which paramiko does not."""

    def _convert_status(self, message):
        code, text = message.get_int(), message.get_text()
        if code != packets.SFTP_OK:
            raise Refused(code, text)


class Sftp:
    """Requests one by one: paramiko's own file objects take a lost connection for a good CLOSE."""

    def __init__(self, server):
        line = socket.create_connection(server.addresses["sftp"], SECONDS)
        self.transport = paramiko.Transport(line)
        self.transport.banner_timeout = self.transport.auth_timeout = SECONDS
        try:
            self.transport.connect(username="acme", password=PASSWORD)
            self.sftp = Packets.from_transport(self.transport)
            self.sftp.get_channel().settimeout(SECONDS)
        except BaseException:
            self.transport.close()
            raise

    def put(self, path, data, offset=0, how=None, acknowledge=lambda length: None):
        """Sends `data` from `offset` on; what was opened at an offset is not emptied."""
        handle = self.open(path, packets.SFTP_FLAG_WRITE | (0 if offset else self.NEW))
        for at in range(offset, len(data), CHUNK):
            piece = data[at : at + CHUNK]
            self.sftp._request(packets.CMD_WRITE, handle, packets.int64(at), piece)
            acknowledge(at + len(piece))
        kind, reply = self.sftp._request(packets.CMD_CLOSE, handle)
        assert kind == packets.CMD_STATUS, kind

    NEW = packets.SFTP_FLAG_CREATE | packets.SFTP_FLAG_TRUNC

    def open(self, path, flags):
        kind, reply = self.sftp._request(packets.CMD_OPEN, path.encode(), flags, SFTPAttributes())
        assert kind == packets.CMD_HANDLE, kind
        return reply.get_binary()

    def size(self, path):
        try:
            return self.sftp.stat(path).st_size
        except Refused as refusal:
            if refusal.args[0] == packets.SFTP_NO_SUCH_FILE:
                return None
            raise

    def get(self, path):
        handle, pieces = self.open(path, packets.SFTP_FLAG_READ), []
        for at in range(0, self.size(path), CHUNK):
            kind, reply = self.sftp._request(packets.CMD_READ, handle, packets.int64(at), CHUNK)
            assert kind == packets.CMD_DATA, kind
            pieces.append(reply.get_binary())
        return b"".join(pieces)

    def rename(self, old, new):
        self.sftp.posix_rename(old, new)

    def mkdir(self, path):
        self.sftp.mkdir(path)

    def close(self):
        self.transport.close()


def unverified():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def connect(server, protocol):
    return Sftp(server) if protocol == "sftp" else Ftp(server, protocol == "ftps")
