"""FTPS clients by what they do with the TLS session on data connections.

    ftps_sessions.py PORT USER PASSWORD VERSION WAY

VERSION is 1.2 or 1.3. WAY is `shipped` (ftplib as it is: never resumes), `filezilla` or `winscp` (their commands and their
way of resuming). Sends three files, lists, and fetches one back.
"""

import ftplib
import io
import ssl
import sys

FILES = {f"picture {n}.jpg": bytes([n]) * (n * 100_000) for n in range(3)}


class Resuming(ftplib.FTP_TLS):
    """Resumes the control connection's session: the one of its handshake, or the newest."""

    newest = False
    first = None

    def ntransfercmd(self, cmd, rest=None):
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:
            self.first = self.first or self.sock.session
            session = self.sock.session if self.newest else self.first
            conn = self.context.wrap_socket(conn, server_hostname=self.host, session=session)
            assert conn.session_reused, "not resumed"
        return conn, size


def main():
    port, user, password, version, way = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = {
        "1.2": ssl.TLSVersion.TLSv1_2,
        "1.3": ssl.TLSVersion.TLSv1_3,
    }[version]
    ftp = (ftplib.FTP_TLS if way == "shipped" else Resuming)(context=context, timeout=30)
    ftp.connect("127.0.0.1", int(port))
    ftp.login(user, password)
    ftp.newest = way == "winscp"
    ftp.prot_p()
    opening = {
        "shipped": [],
        "filezilla": ["SYST", "FEAT", "CLNT FileZilla", "OPTS UTF8 ON", "PWD", "TYPE I"],
        "winscp": ["SYST", "FEAT", "OPTS UTF8 ON", "PWD", "CWD /", "TYPE A"],
    }
    for command in opening[way]:
        ftp.sendcmd(command)
    for name, content in FILES.items():
        if way != "shipped":
            list(ftp.mlsd())
        ftp.storbinary(f"STOR {name}", io.BytesIO(content))
        if way == "filezilla":
            ftp.sendcmd(f"MFMT 20240102030405 {name}")
        if way == "winscp":
            ftp.sendcmd(f"MFMT 20240102030405 {name}")
            assert ftp.size(name) == len(content)
    assert sorted(name for name, _ in ftp.mlsd() if name in FILES) == sorted(FILES)
    for name, content in FILES.items():
        back = io.BytesIO()
        ftp.retrbinary(f"RETR {name}", back.write)
        assert back.getvalue() == content, name
    ftp.quit()


main()
