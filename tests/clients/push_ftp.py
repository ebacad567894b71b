import sys
from pathlib import Path
from ftplib import FTP

host, port, user, password, folder = sys.argv[1:]
ftp = FTP(); ftp.connect(host, int(port)); ftp.login(user, password); put = lambda file, name: ftp.storbinary("STOR " + name, file)
for path in sorted(Path(folder).iterdir()):
    with path.open("rb") as file:
        put(file, path.name)
    print("landed", path.name)
