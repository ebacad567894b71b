"""ftplib as people use it: ftplib_client.py put|get|crawl|resume clear|tls HOST PORT USER PASSWORD FOLDER NAME..."""
import sys
import time
from ftplib import FTP, FTP_TLS
from pathlib import Path

verb, mode, host, port, user, password, folder, *names = sys.argv[1:]
ftp = FTP_TLS() if mode == "tls" else FTP()
ftp.connect(host, int(port), timeout=60)
ftp.login(user, password)
if mode == "tls":
    ftp.prot_p()

for name in names:
    path = Path(folder) / name
    if verb == "put":
        with path.open("rb") as file:
            ftp.storbinary(f"STOR {name}", file)
    elif verb == "get":
        with path.open("wb") as file:
            ftp.retrbinary(f"RETR {name}", file.write)
    elif verb == "crawl":
        with path.open("rb") as file:
            ftp.storbinary(f"STOR {name}", file, blocksize=65536, callback=lambda _: time.sleep(0.2))
    elif verb == "resume":
        ftp.voidcmd("TYPE I")
        held = ftp.size(name)
        with path.open("rb") as file:
            file.seek(held)
            ftp.storbinary(f"STOR {name}", file, rest=held)
ftp.quit()
