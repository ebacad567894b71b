"""paramiko as people use it: paramiko_client.py put|get|crawl|resume password|key HOST PORT USER SECRET FOLDER NAME..."""
import sys
import time
from pathlib import Path

import paramiko

verb, mode, host, port, user, secret, folder, *names = sys.argv[1:]
ssh = paramiko.SSHClient()
ssh.set_missing_host_key_policy(paramiko.AutoAddPolicy())
login = {"password": secret} if mode == "password" else {"key_filename": secret}
ssh.connect(host, int(port), user, allow_agent=False, look_for_keys=False, **login)
sftp = ssh.open_sftp()

for name in names:
    path = Path(folder) / name
    if verb == "put":
        sftp.put(str(path), name)
    elif verb == "get":
        sftp.get(name, str(path))
    elif verb == "crawl":
        with path.open("rb") as source, sftp.open(name, "wb") as target:
            while block := source.read(65536):
                target.write(block)
                time.sleep(0.2)
    elif verb == "resume":
        held = sftp.stat(name).st_size
        with path.open("rb") as source, sftp.open(name, "r+b") as target:
            source.seek(held)
            target.seek(held)
            target.write(source.read())
ssh.close()
