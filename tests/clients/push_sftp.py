import sys
from pathlib import Path
from paramiko import SFTPClient, Transport

host, port, user, password, folder = sys.argv[1:]
ssh = Transport((host, int(port))); ssh.connect(username=user, password=password); put = SFTPClient.from_transport(ssh).putfo
for path in sorted(Path(folder).iterdir()):
    with path.open("rb") as file:
        put(file, path.name)
    print("landed", path.name)
