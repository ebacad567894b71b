"""What ssh-audit says of the server's SSH: against the policy beside this file, and by its own standards.

    ssh_judge.py PORT

Prints each finding; ends with 1 when one is not expected, an expected one is missing, or the policy does not hold.
"""

import json
import subprocess
import sys
from pathlib import Path

# What remains by ssh-audit's own standards, and why. SECURITY.md argues for each.
EXPECTED = {
    ("key", "ecdsa-sha2-nistp256", "fail"): "for clients that know Curve25519 and not Ed25519: Java 11 to 14",
    ("key", "ecdsa-sha2-nistp256", "warn"): "its signatures take no random number (RFC 6979)",
    ("kex", "curve25519-sha256", "warn"): "for clients without ML-KEM, which are most; ML-KEM comes first",
    ("kex", "curve25519-sha256@libssh.org", "warn"): "the same under its older name",
    ("mac", "hmac-sha2-256", "warn"): "for libssh2 before 1.11, last in the list, with AES-CTR alone",
    ("mac", "hmac-sha2-512", "warn"): "the same",
}


def audit(*options):
    # The rate test would only fill the places of strangers; tests/torture/flood does that.
    command = [sys.executable, "-m", "ssh_audit", "--skip-rate-test", *options, "127.0.0.1"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def main():
    (port,) = sys.argv[1:]
    policy = audit("--port", port, "--policy", str(Path(__file__).with_name("ssh_audit.policy")))
    print(policy.stdout)
    report = audit("--port", port, "--json").stdout
    found = json.loads(report)
    levels = {
        (kind, entry["algorithm"], level): "; ".join(texts)
        for kind in ("kex", "key", "enc", "mac")
        for entry in found[kind]
        for level, texts in entry.get("notes", {}).items()
        if level != "info"
    }
    for finding, text in levels.items():
        print(*finding, f"{text} ({EXPECTED.get(finding, 'not expected')})")
    for vulnerability in found["cves"]:
        print(vulnerability)
    if policy.returncode != 0 or levels.keys() != EXPECTED.keys() or found["cves"]:
        print(report)
        sys.exit(1)


main()
